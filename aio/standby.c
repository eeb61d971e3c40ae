// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A coroutine whose stack is its own.
 *
 * Only the loop knows when the stack is no longer in use, so it is the loop, not the coroutine,
 * that ends the run. From then on another loop may run it.
 */
#include <assert.h>
#include <errno.h>

#include "aio.h"
#include "internal.h"

enum standby_state {
	RUNS = 1 << 0,
	CALLED = 1 << 1,  /* it must run (again) */
	AWAITED = 1 << 2, /* its waiter is to be woken */
};

static void standby_co(void *arg)
{
	struct co_standby *standby = arg;

	/* seq_cst, as everywhere here: either this run sees what a caller did, or there is another.
	 */
	atomic_fetch_and(&standby->state, ~CALLED);
	standby->fn(standby->arg);
}

/* True: it has ended, and the standby may be gone. */
static bool try_end(struct co_standby *standby)
{
	unsigned state = RUNS;

	if (atomic_compare_exchange_strong(&standby->state, &state, 0))
		return true;
	if (state & CALLED)
		return false;
	co_wake(standby->waiter);
	return true;
}

static void stack_came_back(struct coroutine *co)
{
	struct aio_loop *loop = co->loop;
	struct co_standby *standby = co->arg;

	if (try_end(standby)) {
		aio_loop_release(loop);
		return;
	}
	coroutine_set(co, loop, standby_co, standby);
	aio_loop_ready(loop, co);
}

int co_standby_init(struct co_standby *standby, co_fn *fn, void *arg)
{
	*standby = (struct co_standby){ .fn = fn, .arg = arg, .stack = co_stack_new() };
	if (!standby->stack)
		return -ENOMEM;
	standby->stack->take_back = stack_came_back;
	return 0;
}

void co_standby_destroy(struct co_standby *standby)
{
	if (standby->stack)
		co_stack_free(standby->stack);
}

void co_standby_call(struct co_standby *standby)
{
	struct aio_loop *loop = aio_this_loop;

	assert(loop && standby->stack);
	if (atomic_fetch_or(&standby->state, RUNS | CALLED) & RUNS)
		return;
	aio_loop_hold(loop);
	coroutine_set(standby->stack, loop, standby_co, standby);
	aio_loop_ready(loop, standby->stack);
}

void co_standby_co_end(struct co_standby *standby)
{
	standby->waiter = co_self();
	if (atomic_fetch_or(&standby->state, AWAITED) & RUNS)
		co_yield();
}
