/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What coroutine.c and loop.c know of each other; private to aio/.
 *
 * loop.c decides which coroutine runs next, coroutine.c runs it.
 */
#ifndef UBD_AIO_INTERNAL_H
#define UBD_AIO_INTERNAL_H

#include <stdatomic.h>

#include "coroutine.h"

struct co_thread;

enum co_state {
	CO_NEW,	    /* not run yet; in the ready list or an inbox */
	CO_RUNNING, /* runs, or is ready to after a yield */
	CO_YIELDED, /* waits for its co_wake() */
	CO_WOKEN,   /* had its co_wake() before it yielded */
};

struct coroutine {
	struct coroutine *next; /* in a pool, the ready list or an inbox: never in two of them */
	struct aio_loop *loop;
	co_fn *fn; /* NULL: it has ended */
	void *arg;
	_Atomic enum co_state state;

	/* coroutine.c alone */
	void *context;		  /* while it does not run */
	struct co_thread *thread; /* of the loop, while it runs */
	void *stack;
	void *asan_frames;
	void *tsan_fiber;
};

/* Runs @co, on its loop's thread, until it yields or ends; true if it has ended. */
bool coroutine_resume(struct coroutine *co);

/* A coroutine for fn(arg), in state CO_NEW and in no list. */
struct coroutine *coroutine_new(struct aio_loop *loop, co_fn *fn, void *arg);

/* Puts @co behind all that are ready. Loop thread. */
void aio_loop_ready(struct aio_loop *loop, struct coroutine *co);

/* Runs @co now. Loop context. */
void aio_loop_resume(struct aio_loop *loop, struct coroutine *co);

/* Hands @co to the loop from any thread, and wakes the loop. The loop may be gone on return. */
void aio_loop_post(struct aio_loop *loop, struct coroutine *co);

#endif
