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
 * How much of it has memory in advance where that matters. Requests on a chain of a few images use
 * less; what uses more gets it page by page.
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
 * Whether co_start() allocates nothing, or the calling thread has reserved no stacks, so that it
 * need not mind. For callers that can do without another coroutine: to wait for a stack would be to
 * wait for requests, which may wait for the caller.
 */
bool co_has_stack(void);

/* Starts fn(arg) on another loop (or this one), later. Any thread. */
void co_start_on(struct aio_loop *loop, co_fn *fn, void *arg);

/*
 * Fills the calling thread's pool, so that the next @count co_start() calls allocate nothing. 0 or
 * -ENOMEM.
 */
int co_reserve(unsigned count);
/*
 * The same for a part of the thread's coroutines, beside what other parts have reserved. The second
 * one takes back what the first has returned 0 for, once those @count have ended.
 */
int co_reserve_more(unsigned count);
void co_reserve_less(unsigned count);
/* Gives memory to the first CO_TOUCHED_SIZE bytes of all stacks in the calling thread's pool. */
void co_touch(void);
/* The calling thread's pool keeps so many ended coroutines for later, if that is more than usual.
 */
void co_keep(unsigned count);
/* How many coroutines wait in the calling thread's pool. */
unsigned co_spare(void);
/*
 * A stack for the pool of a thread that should not wait for its memory, which it has up to
 * CO_TOUCHED_SIZE. NULL: there is none. Any thread.
 */
struct coroutine *co_stack_new(void);
/* Puts it in the calling thread's pool, or frees it. */
void co_stack_put(struct coroutine *stack);
void co_stack_free(struct coroutine *stack);
/*
 * Gives the memory of what waits in the calling thread's pool back, except for what co_reserve()
 * has put there.
 */
void co_give_back(void);

/* The running coroutine, or NULL outside a coroutine. */
struct coroutine *co_self(void);

/*
 * Suspends the caller until co_wake() is called on it. Every wake ends one yield, so the caller
 * must have made itself known to exactly one waker before. A wake that comes before the yield is
 * not lost.
 */
void co_yield(void);

/*
 * Puts a coroutine that has yielded, or is about to, on its loop's ready list. It continues from
 * the loop, never inside this call. Any thread. What the caller wrote before is visible to the
 * coroutine after co_yield().
 */
void co_wake(struct coroutine *co);

/* For a coroutine that waits in a place where others of its loop find it; one at a time. */
static inline void co_wait_at(struct coroutine **place)
{
	*place = co_self();
	co_yield();
}

/* Nothing if nobody waits there. */
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
 * It has one stack, so it runs on one loop at a time: whoever calls it while it runs has it run
 * again. The members are private.
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
/* Only once it has ended for good; nothing if it was never initialized, but zeroed. */
void co_standby_destroy(struct co_standby *standby);

/*
 * Runs fn(arg) from its beginning as a coroutine of the calling thread's loop, which does not end
 * before; or, if it is running, again after this run and on the same loop. What the caller wrote
 * before is visible to it. Allocates nothing. Loop thread only.
 */
void co_standby_call(struct co_standby *standby);

/* Waits until it does not run. Nobody may call it any more. */
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

/* Waits until no member is running, those included that are started meanwhile. */
void co_group_wait(struct co_group *group);

#endif
