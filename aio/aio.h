/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One io_uring loop per thread.
 *
 * In each turn, a loop runs the callbacks of completed operations and all ready coroutines, and
 * then enters the kernel once, to submit everything prepared in the turn and to wait. Nothing else
 * on the thread sleeps.
 *
 * Where io_uring is refused, as in most containers, a program that does not depend on it can use
 * loops without a ring: the operations of coroutines are then system calls on a worker pool.
 */
#ifndef UBD_AIO_H
#define UBD_AIO_H

#include <glib.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "coroutine.h"

/* Maximum number of loops that exist in a process at the same time. */
#define AIO_MAX_LOOPS 256

struct aio_loop;

/*
 * Creates a loop with a ring of @entries SQEs (a power of two; any number of operations may be in
 * flight). It belongs to the thread that first runs it, and does not survive a fork(). The caller
 * frees it with aio_loop_free(). NULL with @err set (ENOSYS where io_uring is refused, ENOSPC past
 * AIO_MAX_LOOPS).
 */
struct aio_loop *aio_loop_new(unsigned entries, GError **err);

/* What a ring is used for; the kernel refuses everything else, see ring_limits.h. */
enum ring_use {
	RING_FILES = 1 << 0, /* what every loop needs, and I/O on open files */
	RING_MESSAGES = 1 << 1,
	RING_ACCEPTS = 1 << 2,
	RING_CONNECTS = 1 << 3,
	RING_COMMANDS = 1 << 4, /* to drivers: IORING_OP_URING_CMD */
	RING_BUFFERS = 1 << 5,	/* aio_loop_set_buffer(), buffer groups */
	RING_ALL = (1 << 6) - 1,
};

/* Like aio_loop_new(), but the ring only allows @uses, a bitwise OR of enum ring_use. */
struct aio_loop *aio_loop_new_for(unsigned uses, unsigned entries, GError **err);

/* How a loop carries out the operations of coroutines. */
enum aio_engine {
	AIO_ENGINE_ANY, /* io_uring where it works, otherwise threads */
	AIO_ENGINE_URING,
	AIO_ENGINE_THREADS,
};

/*
 * Like aio_loop_new(), with a choice of engine. A loop on threads supports neither operations with
 * a callback nor registered buffers.
 */
struct aio_loop *aio_loop_new_with(enum aio_engine engine, unsigned entries, GError **err);

/*
 * Sets an error for a result @res of io_uring_queue_init(), with advice where io_uring is refused.
 */
void aio_set_ring_error(int res, GError **err);

/*
 * Frees a loop that is not running and has no coroutines or operations left. NULL is fine. Any
 * thread.
 */
void aio_loop_free(struct aio_loop *loop);

/* Whether the loop uses io_uring rather than threads. */
bool aio_loop_has_ring(const struct aio_loop *loop);

/* The loop that the calling thread is running, or NULL. */
struct aio_loop *aio_loop_current(void);

/*
 * A small number, unique among the loops that are alive: 0 to AIO_MAX_LOOPS - 1,
 * lowest free first. For arrays of per-loop state. Any thread.
 */
unsigned aio_loop_id(const struct aio_loop *loop);

/* Runs the loop on the calling thread until aio_loop_stop(). */
void aio_loop_run(struct aio_loop *loop);

/*
 * Makes aio_loop_run() return after the current turn, with everything prepared until then
 * submitted. If the loop is not running, the next aio_loop_run() returns after its first turn. Any
 * thread, or a signal handler.
 */
void aio_loop_stop(struct aio_loop *loop);

/*
 * Allows the loop to be freed although operations are still in flight, if they write to no memory,
 * such as waiting driver commands. They end with the thread that started them.
 */
void aio_loop_abandon(struct aio_loop *loop);

/* Runs the loop on the calling thread until fn(arg) has ended, as a coroutine on it. */
void aio_loop_run_co(struct aio_loop *loop, co_fn *fn, void *arg);

/*
 * Neither run function returns while the loop is held. For coroutines that outlive the request that
 * started them. Each hold needs one release. Loop thread.
 */
void aio_loop_hold(struct aio_loop *loop);
void aio_loop_release(struct aio_loop *loop);

/* ---- operations with a callback ---- */

/*
 * An operation on the ring; embed it. It must stay in place until done() has been called; a
 * multishot operation until done() has been called for a CQE without IORING_CQE_F_MORE.
 */
struct aio_op {
	/* Loop context, not a coroutine. @res and @flags are the CQE's. */
	void (*done)(struct aio_op *op, int32_t res, uint32_t flags);
	/*
	 * done() is only called for failures; a success does not even wake the loop. A quiet
	 * operation may be in flight several times.
	 */
	bool quiet;
};

/*
 * A cleared SQE whose completion calls op->done(). Fill it with io_uring_prep_*() first and call
 * aio_sqe_set_op() after that (liburing's prep functions clear user_data). It is submitted at the
 * end of the turn, or earlier if the ring is full, so fill it before the next call. Never NULL.
 * Every SQE must have an op and, unless the op is quiet, produce a CQE. Loop thread only, while the
 * loop runs, and only with a ring.
 */
struct io_uring_sqe *aio_get_sqe(struct aio_loop *loop);
void aio_sqe_set_op(struct io_uring_sqe *sqe, struct aio_op *op);

/*
 * The CLOCK_MONOTONIC time at which the running loop last returned from the kernel, or a little
 * later: the clock is read once per turn, at the first call. Loop thread.
 */
uint64_t aio_turn_ns(void);

/* Something to do at the end of a turn; embed it. */
struct aio_hook {
	void (*fn)(struct aio_hook *hook); /* loop context, not a coroutine */
	struct aio_hook *next;		   /* private to the loop */
};

/*
 * Calls hook->fn() once, when the turn ends and the running loop is about to submit the operations
 * prepared in it. The hook must stay in place until then, and may be added again from then on. When
 * the next turn begins, the kernel has begun all operations that the hook has prepared. Loop
 * thread.
 */
void aio_at_end_of_turn(struct aio_hook *hook);

/*
 * Gives the ring a table of @entries registered buffers, all empty, for the kernel (a driver) or
 * aio_loop_set_buffer() to fill. Once, before the loop first runs. 0 or -errno; -EOPNOTSUPP without
 * a ring.
 */
int aio_loop_make_buffers(struct aio_loop *loop, unsigned entries);

/* Fills an entry with our own memory, or empties it (NULL, 0). Loop thread. 0 or -errno. */
int aio_loop_set_buffer(struct aio_loop *loop, unsigned index, void *base, size_t bytes);

/*
 * Gives the ring the group @group of provided buffers, for operations with IOSQE_BUFFER_SELECT. The
 * caller keeps @ring, which is page-aligned and has @entries (a power of two), until the loop is
 * freed or the group is dropped, and may add buffers to it at any time. Loop thread, or before the
 * loop first runs. 0 or -errno; -EOPNOTSUPP without a ring.
 */
int aio_loop_make_buffer_group(struct aio_loop *loop, struct io_uring_buf_ring *ring,
			       unsigned entries, uint16_t group);
/* No operation uses the group any more. Loop thread. */
void aio_loop_drop_buffer_group(struct aio_loop *loop, uint16_t group);

/* ---- limits: when operations give up ---- */

#define AIO_NEVER UINT64_MAX

/* The CLOCK_MONOTONIC time. Any thread. */
uint64_t aio_now_ns(void);
uint64_t aio_ns_from_now(uint64_t ns);

/*
 * Ends operations of coroutines before they are complete: at a time, or when another coroutine or a
 * callback of their loop cancels them. One limit may serve any number of operations of one loop,
 * one after another or at the same time.
 */
struct aio_limit {
	uint64_t end_ns; /* as of aio_now_ns(); AIO_NEVER. Effective for operations begun later */
	bool cancelled;
};

/* clang-format off */
#define AIO_LIMIT_INIT { .end_ns = AIO_NEVER }
/* clang-format on */

/*
 * Makes all waiting and all future operations with this limit give up. Loop thread.
 */
void aio_limit_cancel(struct aio_limit *limit);

/*
 * ---- operations of coroutines: each yields until it has completed ----
 *
 * An operation that takes a limit (NULL: none) returns -ETIME if that has passed, and -ECANCELED if
 * it was cancelled. Whatever was done by then is returned instead: nothing that was transferred is
 * lost.
 */

/* Like the system calls of these names. Return bytes (possibly short) or -errno. */
ssize_t co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
/* @rw_flags: RWF_*. */
ssize_t co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int rw_flags);
/*
 * The same for @bytes (at most INT_MAX) at @addr of a registered buffer of the running loop. In a
 * buffer of our own memory @addr is an address; in one that a driver has filled it counts from 0.
 */
ssize_t co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
int co_fdatasync(int fd);
int co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
/* @flags: SYNC_FILE_RANGE_*. @bytes is 0 for up to the end of the file, or at most UINT_MAX. */
int co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags);

/*
 * Sockets, which must not be O_NONBLOCK. Like the system calls of these names; sending to a peer
 * that is gone is -EPIPE, without a signal. Descriptors travel in the ancillary data of messages:
 * receive them with MSG_CMSG_CLOEXEC.
 */
int co_connect(int fd, const struct sockaddr *address, socklen_t len, struct aio_limit *limit);
/* A descriptor with FD_CLOEXEC, or -errno. */
int co_accept(int fd, struct aio_limit *limit);
ssize_t co_send(int fd, const void *buf, size_t bytes, struct aio_limit *limit);
ssize_t co_recv(int fd, void *buf, size_t bytes, struct aio_limit *limit);
ssize_t co_sendmsg(int fd, const struct msghdr *msg, int flags, struct aio_limit *limit);
ssize_t co_recvmsg(int fd, struct msghdr *msg, int flags, struct aio_limit *limit);

/* Reads a file that has no positions and is O_NONBLOCK: a signalfd, an eventfd, a pipe. */
ssize_t co_read_event(int fd, void *buf, size_t bytes, struct aio_limit *limit);

void co_sleep_ns(uint64_t ns);
/* Sleeps until the limit: -ETIME or -ECANCELED. */
int co_wait_limit(struct aio_limit *limit);
/* Waits for @events of poll(2) on @fd. Returns the events that occurred, or -errno. */
int co_poll(int fd, short events, struct aio_limit *limit);
/* Lets everything else that is ready on the loop run first. */
void co_reschedule(void);
/* Also lets the loop submit prepared operations, and reap completions that are ready by then. */
void co_turn(void);

/*
 * Runs fn(arg) on a thread of the process's worker pool and returns its result; for CPU-bound work
 * (compression) that never waits. Threads are created on first use, one per CPU, at least
 * four, and block all signals. If no thread can be created, fn runs on the calling thread.
 */
int co_run_on_worker(int (*fn)(void *arg), void *arg);

/*
 * The same for calls that wait for storage or other programs and use no CPU meanwhile (stat, open).
 * They have a separate pool, which may have more threads than CPUs. If many callers may wait for
 * the same thing, limit their number, so that they do not use up all threads when it hangs.
 */
int co_block_on_worker(int (*fn)(void *arg), void *arg);

/*
 * The same on a new thread called @name, for a call that may wait so long that nothing else should
 * queue behind it. If no thread can be created, the result is -errno and fn does not run, because
 * it would block the loop. A limit cannot end it.
 */
int co_run_on_thread(const char *name, int (*fn)(void *arg), void *arg);

/*
 * Ends the threads of the pools, which must be idle; the next job creates new ones. Threads keep
 * the capabilities of their creator, so a process that drops capabilities must also call this. Any
 * thread.
 */
void aio_workers_end(void);

#endif
