/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of aio/ know of each other; private to it.
 *
 * loop.c decides which coroutine runs next, coroutine.c runs it. On a loop without a ring
 * ops_threads.c does what io_uring does otherwise.
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

/* ---- loops without a ring ---- */

/* A coroutine that waits for a file or for a time; on its stack. */
struct loop_wait {
	struct loop_wait *next;
	struct coroutine *co;
	int fd; /* -1: none */
	short events;
	uint64_t end_ns; /* by CLOCK_MONOTONIC; UINT64_MAX: no end */
	int res;
};

bool aio_loop_has_ring(const struct aio_loop *loop);
/* Those that wait on the loop. Loop thread. */
struct loop_wait **aio_loop_waits(struct aio_loop *loop);

/*
 * Ends those of @waits that are over. With @block it first sleeps until one is, or until @bell, an
 * eventfd, is rung. Loop context.
 */
void threads_enter(struct loop_wait **waits, int bell, bool block);

/* As the functions of aio.h without "threads_". */
ssize_t threads_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t threads_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			   int rw_flags);
int threads_co_fdatasync(int fd);
int threads_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
void threads_co_sleep_ns(uint64_t ns);
int threads_co_poll(int fd, short events);

/*
 * co_run_on_worker() for a system call that waits for a device and leaves the CPU to others: there
 * may be more threads than CPUs for it.
 */
int co_block_on_worker(int (*fn)(void *arg), void *arg);

#endif
