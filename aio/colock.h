/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutine locks. All of them work between coroutines of different loops.
 *
 * They may be held across a yield, except a thread_lock. None is recursive. Zeroed memory is an
 * unlocked lock; *_destroy() asserts that there are no waiters.
 */
#ifndef UBD_COLOCK_H
#define UBD_COLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "aio.h"
#include "annotations.h"

/* ---- thread_lock: guards a few instructions, from any thread or coroutine ---- */

struct CAPABILITY("thread_lock") thread_lock {
	pthread_mutex_t mutex;
};

/* clang-format off */
#define THREAD_LOCK_INIT { PTHREAD_MUTEX_INITIALIZER }
/* clang-format on */

static inline void thread_lock_init(struct thread_lock *lock)
{
	pthread_mutex_init(&lock->mutex, NULL);
}

static inline void thread_lock_destroy(struct thread_lock *lock)
{
	pthread_mutex_destroy(&lock->mutex);
}

static inline void thread_lock(struct thread_lock *lock) ACQUIRE(lock) NO_THREAD_SAFETY_ANALYSIS
{
	pthread_mutex_lock(&lock->mutex);
}

static inline void thread_unlock(struct thread_lock *lock) RELEASE(lock) NO_THREAD_SAFETY_ANALYSIS
{
	pthread_mutex_unlock(&lock->mutex);
}

/* A list of waiting coroutines; part of the locks below. */
struct co_waiter;
struct co_waitlist {
	struct co_waiter *first;
	struct co_waiter *last;
};

/*
 * ---- co_mutex ----
 *
 * Unlocking wakes the first waiter, but leaves the mutex free: a running coroutine may take it
 * before the one that was woken. If it were handed over instead, nobody could have it while its
 * next holder's thread wakes up, and each use would cost a trip through the kernel as soon as two
 * loops compete. The first in line is passed over at most CO_MUTEX_PASSES times; then the mutex is
 * handed over.
 */

#define CO_MUTEX_PASSES 16

struct CAPABILITY("co_mutex") co_mutex {
	struct thread_lock guard;
	struct coroutine *holder GUARDED_BY(guard);
	struct co_waitlist waiters GUARDED_BY(guard);
	bool first_woken GUARDED_BY(guard); /* it will check holder when it runs */
	unsigned passes GUARDED_BY(guard);  /* over the first of waiters */
};

void co_mutex_init(struct co_mutex *mutex);
void co_mutex_destroy(struct co_mutex *mutex);
void co_mutex_lock(struct co_mutex *mutex) ACQUIRE(mutex);
bool try_co_mutex_lock(struct co_mutex *mutex) TRY_ACQUIRE(true, mutex);
void co_mutex_unlock(struct co_mutex *mutex) RELEASE(mutex);
/* Whether the caller holds the mutex; for assert(). */
bool co_mutex_is_mine(struct co_mutex *mutex);

/*
 * ---- co_queue: wait for a condition; the lock of the condition also guards the queue ----
 */

struct co_queue {
	struct co_waitlist waiters;
};

void co_queue_init(struct co_queue *queue);
void co_queue_destroy(struct co_queue *queue);
/*
 * Drops the lock, waits to be woken, and takes the lock again. Check the condition again
 * afterwards. All uses of a queue must use the same lock.
 */
void co_queue_wait(struct co_queue *queue, struct co_mutex *mutex) REQUIRES(mutex);
void co_queue_wait_thread(struct co_queue *queue, struct thread_lock *lock) REQUIRES(lock);
/* With the lock held. wake_one: false if there was no waiter. */
bool co_queue_wake_one(struct co_queue *queue);
void co_queue_wake_all(struct co_queue *queue);
bool co_queue_empty(const struct co_queue *queue);

/*
 * ---- co_rwlock: many readers, rarely a writer ----
 *
 * A reader counts itself in a cache line of its own loop, so that readers on different loops share
 * nothing that changes. A writer stops new readers and waits until the counts of all loops are
 * zero. Readers that wait for a writer come before the next writer. A reader must not take the lock
 * a second time: a writer in between would deadlock with it.
 */

/*
 * Padded rather than aligned, so that any allocator will do: counts are in different cache lines.
 */
struct co_rwlock_slot {
	_Atomic uint32_t readers;
	char pad[60];
};

struct CAPABILITY("co_rwlock") co_rwlock {
	struct co_rwlock_slot slots[AIO_MAX_LOOPS];
	_Atomic bool writer; /* a writer holds it or waits for readers to leave */
	struct thread_lock guard;
	struct coroutine *draining GUARDED_BY(guard); /* the writer that waits for readers */
	struct co_waitlist waiting_readers GUARDED_BY(guard);
	struct co_waitlist waiting_writers GUARDED_BY(guard);
};

void co_rwlock_init(struct co_rwlock *lock);
void co_rwlock_destroy(struct co_rwlock *lock);
void co_rwlock_rdlock(struct co_rwlock *lock) ACQUIRE_SHARED(lock);
void co_rwlock_rdunlock(struct co_rwlock *lock) RELEASE_SHARED(lock);
void co_rwlock_wrlock(struct co_rwlock *lock) ACQUIRE(lock);
void co_rwlock_wrunlock(struct co_rwlock *lock) RELEASE(lock);

#endif
