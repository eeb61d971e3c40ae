/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One io_uring loop per thread.
 *
 * A loop runs callbacks of completed operations and coroutines that are ready,
 * then enters the kernel once per turn: it submits all that was prepared in
 * the turn and waits. Nothing else on the thread sleeps.
 *
 * Where io_uring is refused, as in most containers, a program that does not depend on it can have
 * loops without a ring: the operations of coroutines are then system calls on the worker pool.
 */
#ifndef UBD_AIO_H
#define UBD_AIO_H

#include <glib.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "coroutine.h"

/* The most loops that live at the same time in a process. */
#define AIO_MAX_LOOPS 256

struct aio_loop;

/*
 * Makes a loop with a ring of @entries SQEs (a power of two; any number of operations
 * may be in flight). It belongs to the thread that first runs it, and does not survive
 * a fork(). The caller frees it with aio_loop_free().
 * NULL with @err set (ENOSYS where io_uring is refused, ENOSPC past AIO_MAX_LOOPS).
 */
struct aio_loop *aio_loop_new(unsigned entries, GError **err);

/* What a loop does the operations of coroutines with. */
enum aio_engine {
	AIO_ENGINE_ANY, /* io_uring or, where there is none, threads */
	AIO_ENGINE_URING,
	AIO_ENGINE_THREADS,
};

/*
 * aio_loop_new() with the choice of the engine. A loop on threads has no operations with a callback
 * and no registered buffers.
 */
struct aio_loop *aio_loop_new_with(enum aio_engine engine, unsigned entries, GError **err);

/* Says that io_uring_queue_init() has returned @res, and what to do where io_uring is refused. */
void aio_set_ring_error(int res, GError **err);

/*
 * Frees a loop that does not run, and on which no coroutine and no operation is left.
 * NULL is fine. Any thread.
 */
void aio_loop_free(struct aio_loop *loop);

/* The loop that the calling thread runs, NULL if none. */
struct aio_loop *aio_loop_current(void);

/*
 * A small number, unique among the loops that are alive: 0 to AIO_MAX_LOOPS - 1,
 * lowest free first. For arrays of per-loop state. Any thread.
 */
unsigned aio_loop_id(const struct aio_loop *loop);

/* Runs the loop on the calling thread until aio_loop_stop(). */
void aio_loop_run(struct aio_loop *loop);

/*
 * Lets aio_loop_run() return after the present turn, everything prepared until then
 * submitted; the next one, if the loop does not run. Any thread, or a signal handler.
 */
void aio_loop_stop(struct aio_loop *loop);

/* Runs the loop on the calling thread until fn(arg) has ended, as a coroutine on it. */
void aio_loop_run_co(struct aio_loop *loop, co_fn *fn, void *arg);

/*
 * Neither run function returns while the loop is held. For coroutines that go on after the
 * request that started them was answered. Each hold needs one release. Loop thread.
 */
void aio_loop_hold(struct aio_loop *loop);
void aio_loop_release(struct aio_loop *loop);

/* ---- operations with a callback ---- */

/*
 * An operation on the ring; embed it. It must stay in place until done() was called,
 * for a multishot operation with a CQE that has no IORING_CQE_F_MORE.
 */
struct aio_op {
	/* Loop context, not a coroutine. @res and @flags are the CQE's. */
	void (*done)(struct aio_op *op, int32_t res, uint32_t flags);
	/*
	 * done() is called for failures only; a success does not even wake the loop. A quiet
	 * operation may be in flight several times.
	 */
	bool quiet;
};

/*
 * A cleared SQE that ends in op->done(); fill it with io_uring_prep_*() and
 * aio_sqe_set_op() after that (liburing's prep functions clear user_data).
 * Submitted at the end of the turn, or earlier when the ring is full: fill it
 * before the next call. Never NULL. Every SQE must have an op and, unless that is quiet, lead to
 * a CQE. Loop thread only, while the loop runs. Not without a ring.
 */
struct io_uring_sqe *aio_get_sqe(struct aio_loop *loop);
void aio_sqe_set_op(struct io_uring_sqe *sqe, struct aio_op *op);

/*
 * Has fn(arg) called in every turn before the loop submits what was prepared in it, so that it can
 * prepare one operation for all that has gathered. When it is called again, the kernel has begun
 * all operations that it has prepared. One per loop, before the loop runs first.
 */
void aio_loop_before_submit(struct aio_loop *loop, void (*fn)(void *arg), void *arg);

/*
 * Gives the ring a table of @entries registered buffers, all of them empty: for the kernel
 * (a driver) or aio_loop_set_buffer() to fill. Once, before the loop runs first. 0 or -errno;
 * -EOPNOTSUPP without a ring.
 */
int aio_loop_make_buffers(struct aio_loop *loop, unsigned entries);

/* Fills an entry with memory of our own, or empties it (NULL, 0). Loop thread. 0 or -errno. */
int aio_loop_set_buffer(struct aio_loop *loop, unsigned index, void *base, size_t bytes);

/*
 * Gives the ring @group of provided buffers, for operations with IOSQE_BUFFER_SELECT. The caller
 * keeps @ring, which is page-aligned and has @entries (a power of two), until the loop is freed,
 * and adds buffers to it as it likes. Before the loop runs first. 0 or -errno; -EOPNOTSUPP without
 * a ring.
 */
int aio_loop_make_buffer_group(struct aio_loop *loop, struct io_uring_buf_ring *ring,
			       unsigned entries, uint16_t group);

/* ---- operations of coroutines: each yields until the kernel has answered ---- */

/* As the system calls of that name; bytes (may be short) or -errno. */
ssize_t co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
/* @rw_flags: RWF_*. */
ssize_t co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int rw_flags);
/*
 * The same with @bytes (at most INT_MAX) at @addr of a registered buffer of the running loop; in
 * one of our own memory @addr is an address, in one that a driver has filled it counts from 0.
 */
ssize_t co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
int co_fdatasync(int fd);
int co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
void co_sleep_ns(uint64_t ns);
/* Waits for @events of poll(2) on @fd; the events that came, or -errno. */
int co_poll(int fd, short events);
/* Goes behind everything else that is ready on the loop. */
void co_reschedule(void);

/*
 * Runs fn(arg) on a thread of the process's worker pool and returns its
 * result; for work that burns CPU or blocks (compression, stat, open). Threads
 * are made on first use, at most one per CPU, and have all signals blocked. If there
 * can be none at all, fn runs on the calling thread.
 */
int co_run_on_worker(int (*fn)(void *arg), void *arg);

/*
 * Ends the threads of the pool, while no loop runs; the next job makes new ones.
 * A thread has the capabilities of the one that made it: who gives up its own has
 * to do this too. Any thread.
 */
void aio_workers_end(void);

#endif
