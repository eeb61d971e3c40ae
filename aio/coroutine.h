/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stackful coroutines.
 *
 * A coroutine lives and dies on the loop it was started on: it never moves to another thread.
 * Functions with _co_ in their name (and co_yield, co_lock...) may only be called from a coroutine.
 *
 * Stacks are pooled, and have a guard page and CO_STACK_SIZE bytes: do not put buffers larger than
 * about a page on them.
 */
#ifndef UBD_COROUTINE_H
#define UBD_COROUTINE_H

#include <stdbool.h>
#include <stddef.h>

struct aio_loop;
struct coroutine;

#define CO_STACK_SIZE	(128 * 1024)
/*
 * How much of a stack is allocated in advance where that matters. Requests on a chain of a few
 * images use less; the rest is allocated page by page when used.
 */
#define CO_TOUCHED_SIZE (8 * 1024)

typedef void co_fn(void *arg);

/*
 * Starts fn(arg) as a coroutine on the calling thread's loop. From a callback of the loop it runs
 * at once, until its first yield; from another coroutine it is put on the loop's ready list. Loop
 * thread only. Aborts if there is no memory for a stack (see co_reserve).
 */
void co_start(co_fn *fn, void *arg);

/*
 * Whether the next co_start() cannot fail. A thread that has reserved stacks allocates none for
 * this, and keeps its last one for others. For callers that can work without another coroutine:
 * waiting for a stack means waiting for requests, which may wait for the caller.
 */
bool co_has_stack(void);

/*
 * Starts fn(arg) on another loop (or this one), later. Any thread. Aborts if there is no memory for
 * a stack.
 */
void co_start_on(struct aio_loop *loop, co_fn *fn, void *arg);
/* The same, but false if there is no memory. */
bool try_co_start_on(struct aio_loop *loop, co_fn *fn, void *arg);

/*
 * Fills the calling thread's pool, so that the next @count co_start() calls allocate nothing. That
 * many stay in it when it gives others back. 0 or -ENOMEM.
 */
int co_reserve(unsigned count);
/*
 * The same in addition to earlier reservations, and the reverse: co_reserve_less() undoes a
 * successful co_reserve_more(), once those @count coroutines have ended.
 */
int co_reserve_more(unsigned count);
void co_reserve_less(unsigned count);
/* Touches the first CO_TOUCHED_SIZE bytes of all stacks in the calling thread's pool. */
void co_touch(void);
/* Makes the calling thread's pool keep up to @count ended coroutines, if that is more than usual.
 */
void co_keep(unsigned count);
/* How many coroutines are in the calling thread's pool. */
unsigned co_spare(void);
/*
 * A stack, touched up to CO_TOUCHED_SIZE, for the pool of another thread that should not wait for
 * memory. NULL: there is no memory. Any thread.
 */
struct coroutine *co_stack_new(void);
/* Puts it in the calling thread's pool, or frees it. */
void co_stack_put(struct coroutine *stack);
void co_stack_free(struct coroutine *stack);
/* Frees the memory of coroutines in the calling thread's pool, except for co_reserve()'s. */
void co_give_back(void);

/* The running coroutine, or NULL outside a coroutine. */
struct coroutine *co_self(void);

/*
 * Suspends the caller until co_wake() is called on it. Every wake ends one yield, so exactly one
 * waker may know of the caller. A wake that comes before the yield is not lost.
 */
void co_yield(void);

/*
 * Puts a coroutine that has yielded, or is about to, on its loop's ready list. It continues from
 * the loop, never inside this call. Any thread. What the caller wrote before is visible to the
 * coroutine after co_yield().
 */
void co_wake(struct coroutine *co);

/* Waits until co_wake_at() is called for the same place. Same loop; one coroutine at a time. */
static inline void co_wait_at(struct coroutine **place)
{
	*place = co_self();
	co_yield();
}

/* Does nothing if no coroutine waits there. */
static inline void co_wake_at(struct coroutine **place)
{
	struct coroutine *co = *place;

	*place = NULL;
	if (co)
		co_wake(co);
}

/*
 * ---- co_standby: a function that can be called on any loop, without waiting for a stack ----
 *
 * It has one stack, so it runs on one loop at a time: a call while it runs makes it run again. The
 * members are private.
 */

struct co_standby {
	co_fn *fn;
	void *arg;
	struct coroutine *stack; /* in use while it runs */
	_Atomic unsigned state;
	struct coroutine *waiter;
};

/* Allocates its stack. 0 or -ENOMEM. */
int co_standby_init(struct co_standby *standby, co_fn *fn, void *arg);
/* Only after it has ended for good; does nothing if it was only zeroed, not initialized. */
void co_standby_destroy(struct co_standby *standby);

/*
 * Runs fn(arg) as a coroutine of the calling thread's loop, which does not end before that; if it
 * is already running, runs it again after this run, on the same loop. The caller's earlier writes
 * are visible to it. Allocates nothing. Loop thread only.
 */
void co_standby_call(struct co_standby *standby);

/* Waits until it is not running. Nobody may call it any more. */
void co_standby_co_end(struct co_standby *standby);

/*
 * ---- co_group: coroutines of one loop, and the coroutine that waits until all have ended ----
 *
 * A zeroed struct is an empty group. Loop thread only.
 */

struct co_group {
	unsigned running;
	struct coroutine *waiter;
};

/* Starts fn(arg) as a member. */
void co_group_start(struct co_group *group, co_fn *fn, void *arg);

/* Waits until no member is running, including those started meanwhile. */
void co_group_wait(struct co_group *group);

#endif
