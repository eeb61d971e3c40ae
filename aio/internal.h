/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of aio/ know about each other; private to aio/.
 *
 * loop.c decides which coroutine runs next, coroutine.c runs it. On a loop without a ring,
 * ops_threads.c takes the place of io_uring.
 */
#ifndef UBD_AIO_INTERNAL_H
#define UBD_AIO_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "coroutine.h"

struct co_thread;

enum co_state {
	CO_NEW,	    /* has not run yet; on the ready list or in an inbox */
	CO_RUNNING, /* running, or ready to after a yield */
	CO_YIELDED, /* waiting for co_wake() */
	CO_WOKEN,   /* co_wake() came before the yield */
};

struct coroutine {
	struct coroutine *next; /* in a pool, on the ready list or in an inbox: only one of them */
	struct aio_loop *loop;
	co_fn *fn; /* NULL: it has ended */
	void *arg;
	_Atomic enum co_state state;

	/* used by coroutine.c only */
	void *context;		  /* while it does not run */
	struct co_thread *thread; /* of the loop, while it runs */
	void *stack;
	void *asan_frames;
	void *tsan_fiber;
};

/* Runs @co, on its loop's thread, until it yields or ends; true if it has ended. */
bool coroutine_resume(struct coroutine *co);

/* A coroutine for fn(arg), in state CO_NEW and on no list. */
struct coroutine *coroutine_new(struct aio_loop *loop, co_fn *fn, void *arg);

/* Appends @co to the ready list. Loop thread. */
void aio_loop_ready(struct aio_loop *loop, struct coroutine *co);

/* Runs @co now. Loop context. */
void aio_loop_resume(struct aio_loop *loop, struct coroutine *co);

/* Hands @co to the loop from any thread, and wakes the loop, which may be gone on return. */
void aio_loop_post(struct aio_loop *loop, struct coroutine *co);

/* ---- loops without a ring ---- */

/* A coroutine that waits for a file or a time; on its stack. */
struct loop_wait {
	struct loop_wait *next;
	struct coroutine *co;
	int fd; /* -1: none */
	short events;
	uint64_t end_ns; /* by CLOCK_MONOTONIC; UINT64_MAX: no end */
	int res;
};

bool aio_loop_has_ring(const struct aio_loop *loop);
/* The waiters of the loop. Loop thread. */
struct loop_wait **aio_loop_waits(struct aio_loop *loop);

/*
 * Ends the @waits whose file is ready or whose time has come. With @block, first sleeps until there
 * is one, or until the eventfd @bell is signalled. Loop context.
 */
void threads_enter(struct loop_wait **waits, int bell, bool block);

/* Like the functions of aio.h without "threads_". */
ssize_t threads_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t threads_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			   int rw_flags);
int threads_co_fdatasync(int fd);
int threads_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
void threads_co_sleep_ns(uint64_t ns);
int threads_co_poll(int fd, short events);

/*
 * Like co_run_on_worker(), for a system call that waits for a device and uses no CPU meanwhile:
 * there may be more threads than CPUs.
 */
int co_block_on_worker(int (*fn)(void *arg), void *arg);

#endif
