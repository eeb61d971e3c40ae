// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Coroutines: their stacks, the switch to and from them, yield and wake.
 *
 * Which coroutine runs next is the loop's business (loop.c).
 *
 * A mapping holds, from its lowest address: the guard, the stack, and the
 * struct coroutine. A coroutine that has ended waits in the pool of its thread,
 * still inside coroutine_main(), for the next function to run.
 */
#include "coroutine.h"

#include <assert.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "aio.h"
#include "co_switch.h"
#include "internal.h"
#include "pages.h"
#include "sanitizers.h"

/* Wider than a page, so that a function with a large frame cannot step over it. */
#define CO_GUARD_SIZE	(64 * 1024)

/* How many ended coroutines a pool keeps, unless co_reserve() or co_keep() was asked for more. */
#define CO_POOL_KEEP	256

/*
 * Stacks start at different offsets. Otherwise the most used lines of all of them would compete for
 * the same few sets of the CPU's caches.
 */
#define CO_COLOURS	32
#define CO_COLOUR_STEP	192
#define CO_HEAD_SIZE	8192 /* room for the struct coroutine and the colour */

#define CO_MAPPING_SIZE (CO_GUARD_SIZE + CO_STACK_SIZE + CO_HEAD_SIZE)

G_STATIC_ASSERT(sizeof(struct coroutine) + CO_COLOURS * CO_COLOUR_STEP <= CO_HEAD_SIZE);

struct co_thread {
	struct coroutine *self;
	void *context; /* of the loop, while a coroutine runs */
	struct coroutine *pool;
	unsigned pooled;
	unsigned reserved; /* set by co_reserve() and the like */
	unsigned kept;	   /* set by co_keep() */
	bool registered;   /* empties the thread's pool when the thread ends */

	/* The thread's own stack. */
	const void *stack;
	size_t stack_size;
	void *asan_frames;
	void *tsan_fiber;
};

static __thread struct co_thread co_thread;

/* ---- stacks ---- */

static void coroutine_free(struct coroutine *co)
{
	char *mapping = (char *)co->stack - CO_GUARD_SIZE;

	tsan_free_fiber(co->tsan_fiber);
	asan_forget(mapping, CO_MAPPING_SIZE);
	munmap(mapping, CO_MAPPING_SIZE);
}

static void coroutine_main(void);

/* NULL if there is no memory. */
static struct coroutine *coroutine_alloc(void)
{
	static _Atomic unsigned colours;
	struct coroutine *co;
	char *mapping;
	size_t offset;

	/* Closed first: otherwise a process with locked memory would get pages for the guard. */
	mapping = mmap(NULL, CO_MAPPING_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
		       -1, 0);
	if (mapping == MAP_FAILED)
		return NULL;
	if (mprotect(mapping + CO_GUARD_SIZE, CO_MAPPING_SIZE - CO_GUARD_SIZE,
		     PROT_READ | PROT_WRITE)) {
		munmap(mapping, CO_MAPPING_SIZE);
		return NULL;
	}
	/* Relaxed: any number will do. */
	offset = atomic_fetch_add_explicit(&colours, 1, memory_order_relaxed) % CO_COLOURS;
	offset = CO_MAPPING_SIZE - sizeof(*co) - offset * CO_COLOUR_STEP;
	co = (struct coroutine *)(mapping + (offset & ~(size_t)63));
	co->stack = mapping + CO_GUARD_SIZE;
	co->context = co_switch_prepare(co->stack, (char *)co - (char *)co->stack, coroutine_main);
	co->tsan_fiber = tsan_new_fiber();
	return co;
}

/* The part of its stack that coroutines usually use gets memory now. */
static void coroutine_touch(struct coroutine *co)
{
	pages_touch((char *)co->stack + CO_STACK_SIZE - CO_TOUCHED_SIZE,
		    CO_TOUCHED_SIZE + CO_HEAD_SIZE);
}

static void pool_free(void *arg)
{
	struct co_thread *thread = arg;

	while (thread->pool) {
		struct coroutine *co = thread->pool;

		thread->pool = co->next;
		coroutine_free(co);
	}
	thread->pooled = 0;
}

static void register_pool(struct co_thread *thread)
{
	static GPrivate at_thread_end = G_PRIVATE_INIT(pool_free);

	if (!thread->registered)
		g_private_set(&at_thread_end, thread);
	thread->registered = true;
}

static void free_above(struct co_thread *thread, unsigned count)
{
	while (thread->pooled > count) {
		struct coroutine *co = thread->pool;

		thread->pool = co->next;
		thread->pooled--;
		coroutine_free(co);
	}
}

static void pool_add(struct co_thread *thread, struct coroutine *co)
{
	register_pool(thread);
	co->next = thread->pool;
	thread->pool = co;
	thread->pooled++;
}

static void pool_put(struct co_thread *thread, struct coroutine *co)
{
	if (thread->pooled >= MAX(MAX(CO_POOL_KEEP, thread->kept), thread->reserved)) {
		coroutine_free(co);
		return;
	}
	pool_add(thread, co);
}

int co_reserve(unsigned count)
{
	struct co_thread *thread = &co_thread;

	thread->reserved = MAX(thread->reserved, count);
	while (thread->pooled < count) {
		struct coroutine *co = coroutine_alloc();

		if (!co)
			return -ENOMEM;
		pool_put(thread, co);
	}
	return 0;
}

int co_reserve_more(unsigned count)
{
	struct co_thread *thread = &co_thread;

	thread->reserved += count;
	for (unsigned i = 0; i < count; i++) {
		struct coroutine *co = coroutine_alloc();

		if (!co) {
			co_reserve_less(count);
			return -ENOMEM;
		}
		pool_add(thread, co);
	}
	return 0;
}

void co_reserve_less(unsigned count)
{
	co_thread.reserved -= count;
	free_above(&co_thread, co_thread.reserved);
}

void co_touch(void)
{
	for (struct coroutine *co = co_thread.pool; co; co = co->next)
		coroutine_touch(co);
}

void co_keep(unsigned count)
{
	co_thread.kept = count;
}

unsigned co_spare(void)
{
	return co_thread.pooled;
}

bool co_has_stack(void)
{
	struct co_thread *thread = &co_thread;
	struct coroutine *co;

	if (thread->reserved)
		return thread->pooled > 1;
	co = thread->pooled ? NULL : coroutine_alloc();
	if (co)
		pool_add(thread, co);
	return thread->pooled;
}

struct coroutine *co_stack_new(void)
{
	struct coroutine *co = coroutine_alloc();

	if (co)
		coroutine_touch(co);
	return co;
}

void co_stack_put(struct coroutine *stack)
{
	pool_put(&co_thread, stack);
}

void co_stack_free(struct coroutine *stack)
{
	coroutine_free(stack);
}

void co_give_back(void)
{
	struct co_thread *thread = &co_thread;

	free_above(thread, thread->reserved);
	/* An ended coroutine has its frames at the top. */
	for (struct coroutine *co = thread->pool; co; co = co->next)
		pages_give_back(co->stack, CO_STACK_SIZE - CO_TOUCHED_SIZE);
}

/* NULL if there is no memory. */
static struct coroutine *try_coroutine_new(struct aio_loop *loop, co_fn *fn, void *arg)
{
	struct co_thread *thread = &co_thread;
	struct coroutine *co = thread->pool;

	if (co) {
		thread->pool = co->next;
		thread->pooled--;
	} else {
		co = coroutine_alloc();
	}
	if (co)
		coroutine_set(co, loop, fn, arg);
	return co;
}

struct coroutine *coroutine_new(struct aio_loop *loop, co_fn *fn, void *arg)
{
	struct coroutine *co = try_coroutine_new(loop, fn, arg);

	if (!co)
		g_error("no memory for the stack of a coroutine");
	return co;
}

void coroutine_set(struct coroutine *co, struct aio_loop *loop, co_fn *fn, void *arg)
{
	co->loop = loop;
	co->fn = fn;
	co->arg = arg;
	/* Relaxed: nobody else knows it yet; aio_loop_post() orders it for another thread. */
	atomic_store_explicit(&co->state, CO_NEW, memory_order_relaxed);
}

/* ---- switching ---- */

bool coroutine_resume(struct coroutine *co)
{
	struct co_thread *thread = &co_thread;

	assert(!thread->self);
	/* Relaxed: its one waker has done its part, and the next has not been told of it yet. */
	atomic_store_explicit(&co->state, CO_RUNNING, memory_order_relaxed);
	thread->self = co;
	thread->tsan_fiber = tsan_this_fiber();
	co->thread = thread;
	asan_leave(&thread->asan_frames, co->stack, CO_STACK_SIZE + CO_HEAD_SIZE);
	tsan_switch(co->tsan_fiber);
	co_switch(&thread->context, co->context);
	asan_arrive(thread->asan_frames, NULL, NULL);
	thread->self = NULL;
	if (co->fn)
		return false;
	asan_forget(co->stack, CO_STACK_SIZE);
	if (co->take_back)
		co->take_back(co);
	else
		pool_put(thread, co);
	return true;
}

/*
 * Switches back to the loop. An ended coroutine may come back on another thread, so nothing here
 * may be taken from thread-local storage: the compiler could keep its address across the switch.
 */
static void coroutine_leave(struct coroutine *co, bool ended)
{
	struct co_thread *thread = co->thread;

	asan_leave(ended ? NULL : &co->asan_frames, thread->stack, thread->stack_size);
	tsan_switch(thread->tsan_fiber);
	co_switch(&co->context, thread->context);
	asan_arrive(ended ? NULL : co->asan_frames, &co->thread->stack, &co->thread->stack_size);
}

static void coroutine_main(void)
{
	struct coroutine *co = co_thread.self;

	asan_arrive(NULL, &co->thread->stack, &co->thread->stack_size);
	for (;;) {
		co->fn(co->arg);
		co->fn = NULL;
		coroutine_leave(co, true);
	}
}

struct coroutine *co_self(void)
{
	return co_thread.self;
}

/* ---- start, yield, wake ---- */

void co_start(co_fn *fn, void *arg)
{
	struct aio_loop *loop = aio_this_loop;
	struct coroutine *co;

	assert(loop);
	co = coroutine_new(loop, fn, arg);
	if (co_self())
		aio_loop_ready(loop, co);
	else
		aio_loop_resume(loop, co);
}

void co_start_on(struct aio_loop *loop, co_fn *fn, void *arg)
{
	aio_loop_post(loop, coroutine_new(loop, fn, arg));
}

bool try_co_start_on(struct aio_loop *loop, co_fn *fn, void *arg)
{
	struct coroutine *co = try_coroutine_new(loop, fn, arg);

	if (co)
		aio_loop_post(loop, co);
	return co;
}

void co_yield(void)
{
	struct coroutine *co = co_self();
	enum co_state state = CO_RUNNING;

	assert(co);
	/*
	 * Pairs with the exchange in co_wake(), with which it has a total order. Release: a waker
	 * that finds CO_YIELDED writes co->next after our last use of it. Acquire, if the waker
	 * came first: we see what it wrote before.
	 */
	if (!atomic_compare_exchange_strong_explicit(&co->state, &state, CO_YIELDED,
						     memory_order_release, memory_order_acquire)) {
		assert(state == CO_WOKEN);
		aio_loop_ready(co->loop, co);
	}
	coroutine_leave(co, false);
}

void coroutine_yield_here(void)
{
	struct coroutine *co = co_self();

	assert(co);
	/* Relaxed, and no exchange: see co_wake(). */
	atomic_store_explicit(&co->state, CO_YIELDED, memory_order_relaxed);
	coroutine_leave(co, false);
}

void co_wake(struct coroutine *co)
{
	enum co_state state;

	if (co->loop == aio_this_loop) {
		/* Relaxed, and no exchange: the yield and its only waker are on one thread. */
		state = atomic_load_explicit(&co->state, memory_order_relaxed);
		atomic_store_explicit(&co->state, CO_WOKEN, memory_order_relaxed);
		if (state == CO_YIELDED)
			aio_loop_ready(co->loop, co);
	} else {
		/* See co_yield(). If it has not yielded yet, it may be gone after this. */
		state = atomic_exchange_explicit(&co->state, CO_WOKEN, memory_order_acq_rel);
		if (state == CO_YIELDED)
			aio_loop_post(co->loop, co);
	}
	/* A second wake for one yield is a mistake. */
	assert(state == CO_YIELDED || state == CO_RUNNING);
}

/* ---- groups ---- */

struct member {
	struct co_group *group;
	co_fn *fn;
	void *arg;
};

static void member_co(void *arg)
{
	struct member member = *(struct member *)arg;
	struct co_group *group = member.group;

	g_free(arg);
	member.fn(member.arg);
	if (!--group->running && group->waiter)
		co_wake(group->waiter);
}

void co_group_start(struct co_group *group, co_fn *fn, void *arg)
{
	struct member *member = g_new(struct member, 1);

	*member = (struct member){ group, fn, arg };
	group->running++;
	co_start(member_co, member);
}

void co_group_wait(struct co_group *group)
{
	assert(!group->waiter);
	/* Another coroutine may start a member between the wake and our turn. */
	while (group->running) {
		group->waiter = co_self();
		co_yield();
		group->waiter = NULL;
	}
}
