/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of aio/ know about each other; private to aio/.
 *
 * loop.c decides which coroutine runs next, coroutine.c runs it; standby.c has coroutines whose
 * stacks are their own. On a loop without a ring, waits.c and ops_threads.c take the place of
 * io_uring.
 */
#ifndef UBD_AIO_INTERNAL_H
#define UBD_AIO_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "coroutine.h"

struct aio_limit;
struct co_thread;

enum co_state {
	CO_NEW,	    /* has not run yet; on the ready list or in an inbox */
	CO_RUNNING, /* running, or ready to after a yield */
	CO_YIELDED, /* waiting for co_wake() */
	CO_WOKEN,   /* co_wake() came before the yield */
};

/*
 * The loop that this thread is running, or NULL, and its aio_loop_id(). What aio_loop_current() is
 * for others.
 */
extern __thread struct aio_loop *aio_this_loop;
extern __thread unsigned aio_this_loop_id;

struct coroutine {
	struct coroutine *next; /* in a pool, on the ready list or in an inbox: only one of them */
	struct aio_loop *loop;
	co_fn *fn; /* NULL: it has ended */
	void *arg;
	_Atomic enum co_state state;
	/* Takes the stack back once the coroutine has ended. Loop context. NULL: the pool does. */
	void (*take_back)(struct coroutine *co);

	/* used by coroutine.c only */
	void *context;		  /* while it does not run */
	struct co_thread *thread; /* of the loop, while it runs */
	void *stack;
	void *asan_frames;
	void *tsan_fiber;
};

/* Runs @co, on its loop's thread, until it yields or ends; true if it has ended. */
bool coroutine_resume(struct coroutine *co);

/* Like co_yield() for a coroutine that nobody wakes or resumes from another thread. */
void coroutine_yield_here(void);

/* A coroutine for fn(arg), in state CO_NEW and on no list. */
struct coroutine *coroutine_new(struct aio_loop *loop, co_fn *fn, void *arg);

/* The same on a stack that is not in use. */
void coroutine_set(struct coroutine *co, struct aio_loop *loop, co_fn *fn, void *arg);

/* Appends @co to the ready list. Loop thread. */
void aio_loop_ready(struct aio_loop *loop, struct coroutine *co);

/* Runs @co now. Loop context. */
void aio_loop_resume(struct aio_loop *loop, struct coroutine *co);

/* Hands @co to the loop from any thread, and wakes the loop, which may be gone on return. */
void aio_loop_post(struct aio_loop *loop, struct coroutine *co);

/* ---- waits ---- */

/*
 * A coroutine whose wait may have to give up or, on a loop without a ring, waits for a file. On its
 * stack.
 */
struct loop_wait {
	struct loop_wait *next;
	struct coroutine *co;
	const struct aio_limit *limit; /* NULL: none */
	uint64_t end_ns;	       /* when to give up; AIO_NEVER. 0: as soon as possible */
	bool given_up;
	/* Ends the wait, now or soon; it may take it out of the list. Loop context. */
	void (*end)(struct loop_wait *wait);
	/* Without a ring: */
	int fd; /* -1: none */
	short events;
	short found; /* the events that have come */
};

/* The list of the loop's waits. Loop thread. */
struct loop_wait **aio_loop_waits(struct aio_loop *loop);

void waits_remove(struct loop_wait **waits, const struct loop_wait *wait);
/* The time until the first of @waits must give up, in *@room; NULL: without limit. */
const struct timespec *waits_room(const struct loop_wait *waits, struct timespec *room);
/* Ends all that must give up. Loop context. */
void waits_give_up(struct loop_wait *waits);
/*
 * Ends the @waits whose file is ready. With @block, first sleeps until there is one, until one of
 * them must give up, or until the eventfd @bell is signalled. Loop context.
 */
void waits_poll(struct loop_wait *waits, int bell, bool block);

/* Adds a wait to the list of its loop. */
void loop_wait_add(struct loop_wait *wait);
/* Takes it out and wakes its coroutine. */
void loop_wait_wake(struct loop_wait *wait);

/* -ETIME or -ECANCELED if the limit is over; else 0. NULL is fine. */
int limit_error(const struct aio_limit *limit);
/* The same for a limit that has made an operation give up. */
int limit_reason(const struct aio_limit *limit);

/* ---- loops without a ring ---- */

/* Like the functions of aio.h without "threads_". */
ssize_t threads_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t threads_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			   int rw_flags);
int threads_co_fdatasync(int fd);
int threads_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int threads_co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags);
int threads_co_connect(int fd, const struct sockaddr *address, socklen_t len,
		       struct aio_limit *limit);
int threads_co_accept(int fd, struct aio_limit *limit);
ssize_t threads_co_sendmsg(int fd, const struct msghdr *msg, int flags, struct aio_limit *limit);
ssize_t threads_co_recvmsg(int fd, struct msghdr *msg, int flags, struct aio_limit *limit);
int threads_co_poll(int fd, short events, struct aio_limit *limit);

#endif
