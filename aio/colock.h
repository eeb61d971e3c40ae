/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks of coroutines; all work between coroutines of different loops.
 *
 * They may be held across a yield, a thread_lock may not. None is recursive.
 * Zeroed memory is an unlocked lock; *_destroy() asserts that nobody waits.
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

/* A list of coroutines that wait; part of the locks below. */
struct co_waiter;
struct co_waitlist {
	struct co_waiter *first;
	struct co_waiter *last;
};

/*
 * ---- co_mutex ----
 *
 * Who unlocks it wakes the first that waits, but leaves the mutex free: a coroutine
 * that runs may take it before the one that was woken. Handing it over instead
 * would let nobody have it while its next holder's thread wakes up, and each use
 * would cost a trip through the kernel as soon as two loops compete. The first in
 * line is passed over CO_MUTEX_PASSES times at most, then it is handed over.
 */

#define CO_MUTEX_PASSES 16

struct CAPABILITY("co_mutex") co_mutex {
	struct thread_lock guard;
	struct coroutine *holder GUARDED_BY(guard);
	struct co_waitlist waiters GUARDED_BY(guard);
	bool first_woken GUARDED_BY(guard); /* it will look at holder when it runs */
	unsigned passes GUARDED_BY(guard);  /* over the first of waiters */
};

void co_mutex_init(struct co_mutex *mutex);
void co_mutex_destroy(struct co_mutex *mutex);
void co_mutex_lock(struct co_mutex *mutex) ACQUIRE(mutex);
bool try_co_mutex_lock(struct co_mutex *mutex) TRY_ACQUIRE(true, mutex);
void co_mutex_unlock(struct co_mutex *mutex) RELEASE(mutex);
/* Whether the caller holds it; for assert(). */
bool co_mutex_is_mine(struct co_mutex *mutex);

/* ---- co_queue: wait for a condition; whoever guards the condition guards the queue ---- */

struct co_queue {
	struct co_waitlist waiters;
};

void co_queue_init(struct co_queue *queue);
void co_queue_destroy(struct co_queue *queue);
/*
 * Drops the lock, waits for a wake, takes the lock again. Check the condition
 * again after it. Every use of one queue goes with the same lock.
 */
void co_queue_wait(struct co_queue *queue, struct co_mutex *mutex) REQUIRES(mutex);
void co_queue_wait_thread(struct co_queue *queue, struct thread_lock *lock) REQUIRES(lock);
/* With the lock held. wake_one: false if nobody waited. */
bool co_queue_wake_one(struct co_queue *queue);
void co_queue_wake_all(struct co_queue *queue);
bool co_queue_empty(const struct co_queue *queue);

/*
 * ---- co_rwlock: many readers, hardly ever a writer ----
 *
 * A reader counts itself in a cache line of its own loop, so that readers on
 * different loops share nothing that changes. A writer stops new readers and
 * waits until the counts of all loops are zero. Readers that wait for a writer
 * come before the next writer. A reader must not take it a second time: a
 * writer between the two would wait for ever.
 */

/* Padded, not aligned, so that the allocator need not know: the counts are in different lines. */
struct co_rwlock_slot {
	_Atomic uint32_t readers;
	char pad[60];
};

struct CAPABILITY("co_rwlock") co_rwlock {
	struct co_rwlock_slot slots[AIO_MAX_LOOPS];
	_Atomic bool writer; /* a writer holds it or waits for the readers to go */
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
