// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Locks of coroutines. A coroutine that must wait puts itself on a list, under the lock's guard,
 * and yields; whoever makes room takes it off the list and wakes it.
 *
 * A struct co_waiter lies on the stack of the waiting coroutine: it must not be touched after the
 * co_wake().
 */
#include "colock.h"

#include <assert.h>
#include <string.h>

#include "internal.h"

struct co_waiter {
	struct coroutine *co;
	struct co_waiter *next;
};

static void waitlist_add(struct co_waitlist *list, struct co_waiter *waiter)
{
	waiter->next = NULL;
	if (list->last)
		list->last->next = waiter;
	else
		list->first = waiter;
	list->last = waiter;
}

/* The coroutine that has waited longest; NULL if there is none. */
static struct coroutine *waitlist_take(struct co_waitlist *list)
{
	struct co_waiter *waiter = list->first;

	if (!waiter)
		return NULL;
	list->first = waiter->next;
	if (!list->first)
		list->last = NULL;
	return waiter->co;
}

static void wake_if_any(struct coroutine *co)
{
	if (co)
		co_wake(co);
}

/*
 * These generate no code. They tell Clang's analysis what the functions below achieve, while it
 * still checks their use of the guards.
 */
static inline void mutex_is_taken(struct co_mutex *mutex) ACQUIRE(mutex) NO_THREAD_SAFETY_ANALYSIS
{
}

static inline void mutex_is_dropped(struct co_mutex *mutex) RELEASE(mutex) NO_THREAD_SAFETY_ANALYSIS
{
}

static inline void rwlock_is_shared(struct co_rwlock *lock)
	ACQUIRE_SHARED(lock) NO_THREAD_SAFETY_ANALYSIS
{
}

static inline void rwlock_is_unshared(struct co_rwlock *lock)
	RELEASE_SHARED(lock) NO_THREAD_SAFETY_ANALYSIS
{
}

static inline void rwlock_is_taken(struct co_rwlock *lock) ACQUIRE(lock) NO_THREAD_SAFETY_ANALYSIS
{
}

static inline void rwlock_is_dropped(struct co_rwlock *lock) RELEASE(lock) NO_THREAD_SAFETY_ANALYSIS
{
}

/* ---- co_mutex ---- */

void co_mutex_init(struct co_mutex *mutex)
{
	memset(mutex, 0, sizeof(*mutex));
	thread_lock_init(&mutex->guard);
}

void co_mutex_destroy(struct co_mutex *mutex)
{
	thread_lock(&mutex->guard);
	assert(!mutex->holder && !mutex->waiters.first);
	thread_unlock(&mutex->guard);
	thread_lock_destroy(&mutex->guard);
}

/* A few microseconds in all. */
#define MUTEX_SPINS	  32
#define MUTEX_SPIN_PAUSES 4

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb");
#endif
}

/* For a coroutine that is not in line. */
static bool mutex_try(struct co_mutex *mutex, struct coroutine *co) REQUIRES(mutex->guard)
{
	if (mutex->holder)
		return false;
	/* At the limit the mutex is handed over, so that it cannot be free while someone waits. */
	if (mutex->waiters.first)
		mutex->passes++;
	mutex->holder = co;
	return true;
}

/*
 * For the first coroutine in line, which was woken: takes the mutex if it is free or was handed
 * over.
 */
static bool mutex_try_first(struct co_mutex *mutex, struct coroutine *co) REQUIRES(mutex->guard)
{
	if (mutex->holder == co)
		return true;
	mutex->first_woken = false;
	if (mutex->holder)
		return false;
	mutex->holder = waitlist_take(&mutex->waiters);
	mutex->passes = 0;
	return true;
}

/*
 * Whether the mutex is likely to be free in a moment: its holder is running, and not on our own
 * thread. The holder cannot go away while the guard is held.
 */
static bool mutex_is_free_soon(struct co_mutex *mutex, struct coroutine *co) REQUIRES(mutex->guard)
{
	struct coroutine *holder = mutex->holder;

	/* Relaxed: a guess. */
	return !mutex->waiters.first && holder->loop != co->loop &&
	       atomic_load_explicit(&holder->state, memory_order_relaxed) == CO_RUNNING;
}

/*
 * Takes the mutex, if necessary by trying for a while: much cheaper than to sleep and be woken.
 * False only if the last try failed under the guard, which is held on return: nobody wakes a
 * coroutine that sleeps on a free mutex.
 */
static bool mutex_spin(struct co_mutex *mutex, struct coroutine *co) REQUIRES(mutex->guard)
{
	for (unsigned i = 0;; i++) {
		if (mutex_try(mutex, co))
			return true;
		if (i == MUTEX_SPINS || !mutex_is_free_soon(mutex, co))
			return false;
		thread_unlock(&mutex->guard);
		for (unsigned n = 0; n < MUTEX_SPIN_PAUSES; n++)
			cpu_relax();
		thread_lock(&mutex->guard);
	}
}

void co_mutex_lock(struct co_mutex *mutex)
{
	struct co_waiter waiter = { .co = co_self() };

	assert(waiter.co);
	thread_lock(&mutex->guard);
	assert(mutex->holder != waiter.co);
	if (!mutex_spin(mutex, waiter.co)) {
		waitlist_add(&mutex->waiters, &waiter);
		do {
			thread_unlock(&mutex->guard);
			co_yield();
			thread_lock(&mutex->guard);
		} while (!mutex_try_first(mutex, waiter.co));
	}
	thread_unlock(&mutex->guard);
	mutex_is_taken(mutex);
}

bool try_co_mutex_lock(struct co_mutex *mutex) NO_THREAD_SAFETY_ANALYSIS
{
	bool taken;

	thread_lock(&mutex->guard);
	taken = mutex_try(mutex, co_self());
	thread_unlock(&mutex->guard);
	return taken;
}

/* Frees the mutex or hands it over. Returns the coroutine to wake, if any. */
static struct coroutine *mutex_pass_on(struct co_mutex *mutex) REQUIRES(mutex->guard)
{
	struct co_waiter *first = mutex->waiters.first;
	bool coming = mutex->first_woken;

	mutex->holder = NULL;
	if (!first)
		return NULL;
	if (mutex->passes < CO_MUTEX_PASSES) {
		mutex->first_woken = true;
	} else {
		mutex->holder = waitlist_take(&mutex->waiters);
		mutex->first_woken = false;
		mutex->passes = 0;
	}
	return coming ? NULL : first->co;
}

void co_mutex_unlock(struct co_mutex *mutex)
{
	struct coroutine *next;

	thread_lock(&mutex->guard);
	assert(mutex->holder == co_self());
	next = mutex_pass_on(mutex);
	thread_unlock(&mutex->guard);
	mutex_is_dropped(mutex);
	wake_if_any(next);
}

bool co_mutex_is_mine(struct co_mutex *mutex)
{
	bool mine;

	thread_lock(&mutex->guard);
	mine = co_self() && mutex->holder == co_self();
	thread_unlock(&mutex->guard);
	return mine;
}

/* ---- co_queue ---- */

void co_queue_init(struct co_queue *queue)
{
	memset(queue, 0, sizeof(*queue));
}

void co_queue_destroy(struct co_queue *queue)
{
	assert(co_queue_empty(queue));
}

void co_queue_wait(struct co_queue *queue, struct co_mutex *mutex)
{
	struct co_waiter waiter = { .co = co_self() };

	waitlist_add(&queue->waiters, &waiter);
	co_mutex_unlock(mutex);
	co_yield();
	co_mutex_lock(mutex);
}

void co_queue_wait_thread(struct co_queue *queue, struct thread_lock *lock)
{
	struct co_waiter waiter = { .co = co_self() };

	waitlist_add(&queue->waiters, &waiter);
	thread_unlock(lock);
	co_yield();
	thread_lock(lock);
}

bool co_queue_wake_one(struct co_queue *queue)
{
	struct coroutine *co = waitlist_take(&queue->waiters);

	if (co)
		co_wake(co);
	return co;
}

void co_queue_wake_all(struct co_queue *queue)
{
	while (co_queue_wake_one(queue))
		;
}

bool co_queue_empty(const struct co_queue *queue)
{
	return !queue->waiters.first;
}

/*
 * ---- co_rwlock ----
 *
 * A reader stores its count and then loads writer; a writer stores writer and then loads the
 * counts. All of these are seq_cst, so in their total order at least one sees the other's store:
 * either the reader steps back, or the writer waits for it. The same pairing makes the last reader
 * see that a writer waits for it.
 */

static _Atomic uint32_t *my_readers(struct co_rwlock *lock)
{
	return &lock->slots[aio_this_loop_id].readers;
}

static bool rwlock_has_readers(struct co_rwlock *lock)
{
	for (unsigned i = 0; i < AIO_MAX_LOOPS; i++)
		/* seq_cst: see above. Its acquire part: what the reader did is over. */
		if (atomic_load_explicit(&lock->slots[i].readers, memory_order_seq_cst))
			return true;
	return false;
}

/* The writer that waited for the last of the readers, if all of them are gone now. */
static struct coroutine *rwlock_drained(struct co_rwlock *lock) REQUIRES(lock->guard)
{
	struct coroutine *writer = lock->draining;

	if (!writer || rwlock_has_readers(lock))
		return NULL;
	lock->draining = NULL;
	return writer;
}

void co_rwlock_init(struct co_rwlock *lock)
{
	memset(lock, 0, sizeof(*lock));
	thread_lock_init(&lock->guard);
}

void co_rwlock_destroy(struct co_rwlock *lock)
{
	thread_lock(&lock->guard);
	assert(!rwlock_has_readers(lock));
	assert(!atomic_load_explicit(&lock->writer, memory_order_relaxed));
	assert(!lock->waiting_readers.first);
	thread_unlock(&lock->guard);
	thread_lock_destroy(&lock->guard);
}

/*
 * The reader saw a writer after it had counted itself: it steps back, and waits unless the writer
 * is gone.
 */
static G_GNUC_NO_INLINE void rdlock_wait(struct co_rwlock *lock)
{
	struct co_waiter waiter = { .co = co_self() };
	struct coroutine *writer = NULL;
	bool wait;

	thread_lock(&lock->guard);
	/* Relaxed: writer only changes under the guard. */
	wait = atomic_load_explicit(&lock->writer, memory_order_relaxed);
	if (wait) {
		/* The writer may have found the count set, and now relies on us. */
		atomic_fetch_sub_explicit(my_readers(lock), 1, memory_order_seq_cst);
		writer = rwlock_drained(lock);
		waitlist_add(&lock->waiting_readers, &waiter);
	}
	thread_unlock(&lock->guard);
	wake_if_any(writer);
	if (wait)
		co_yield();
}

void co_rwlock_rdlock(struct co_rwlock *lock)
{
	/* seq_cst: see above. Acquire of writer: we see what the last writer wrote. */
	atomic_fetch_add_explicit(my_readers(lock), 1, memory_order_seq_cst);
	if (atomic_load_explicit(&lock->writer, memory_order_seq_cst))
		rdlock_wait(lock);
	rwlock_is_shared(lock);
}

static G_GNUC_NO_INLINE void wake_drained(struct co_rwlock *lock)
{
	struct coroutine *writer;

	thread_lock(&lock->guard);
	writer = rwlock_drained(lock);
	thread_unlock(&lock->guard);
	wake_if_any(writer);
}

void co_rwlock_rdunlock(struct co_rwlock *lock)
{
	/* seq_cst: see above. Its release part: our reads are done before a writer writes. */
	atomic_fetch_sub_explicit(my_readers(lock), 1, memory_order_seq_cst);
	rwlock_is_unshared(lock);
	if (atomic_load_explicit(&lock->writer, memory_order_seq_cst))
		wake_drained(lock);
}

void co_rwlock_wrlock(struct co_rwlock *lock)
{
	struct co_waiter waiter = { .co = co_self() };
	bool wait = true;

	thread_lock(&lock->guard);
	/* Relaxed: writer only changes under the guard. */
	if (atomic_load_explicit(&lock->writer, memory_order_relaxed)) {
		waitlist_add(&lock->waiting_writers, &waiter);
	} else {
		/* seq_cst: see above. */
		atomic_store_explicit(&lock->writer, true, memory_order_seq_cst);
		lock->draining = waiter.co;
		wait = !rwlock_drained(lock);
	}
	thread_unlock(&lock->guard);
	if (wait)
		co_yield();
	rwlock_is_taken(lock);
}

/*
 * Lets in the waiting readers: counts each of them in its own loop's slot, as it would itself.
 * Returns them; the caller wakes them.
 */
static struct co_waitlist rwlock_admit_readers(struct co_rwlock *lock) REQUIRES(lock->guard)
{
	struct co_waitlist readers = lock->waiting_readers;

	lock->waiting_readers = (struct co_waitlist){ 0 };
	for (struct co_waiter *waiter = readers.first; waiter; waiter = waiter->next)
		/* Relaxed: the next look is under the guard, or comes after writer is false. */
		atomic_fetch_add_explicit(&lock->slots[aio_loop_id(waiter->co->loop)].readers, 1,
					  memory_order_relaxed);
	return readers;
}

void co_rwlock_wrunlock(struct co_rwlock *lock)
{
	struct co_waitlist readers;
	struct coroutine *co, *writer = NULL;

	rwlock_is_dropped(lock);
	thread_lock(&lock->guard);
	assert(!lock->draining);
	readers = rwlock_admit_readers(lock);
	lock->draining = waitlist_take(&lock->waiting_writers);
	if (lock->draining)
		writer = rwlock_drained(lock);
	else
		/* Release: a reader that sees it sees what we wrote. */
		atomic_store_explicit(&lock->writer, false, memory_order_release);
	thread_unlock(&lock->guard);
	while ((co = waitlist_take(&readers)))
		co_wake(co);
	wake_if_any(writer);
}
