// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations of coroutines. Each fills one SQE, waits for its completion and returns the result. On
 * a loop without a ring, ops_threads.c carries them out.
 */
#include "aio.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include "container_of.h"
#include "internal.h"

struct co_op {
	struct aio_op op;
	struct coroutine *co;
	int32_t res;
};

static void co_op_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct co_op *wait = (struct co_op *)op;

	wait->res = res;
	/*
	 * At once, not by way of the ready list: it waits for nothing else, and the CPU's cache has
	 * the end of its stack now.
	 */
	aio_loop_resume(wait->co->loop, wait->co);
}

/* Sends @sqe and waits for the answer. */
static int32_t co_op_wait(struct io_uring_sqe *sqe)
{
	struct co_op wait = { .op.done = co_op_done, .co = co_self() };

	aio_sqe_set_op(sqe, &wait.op);
	coroutine_yield_here();
	return wait.res;
}

static bool has_ring(void)
{
	return aio_loop_has_ring(aio_this_loop);
}

static struct io_uring_sqe *co_get_sqe(void)
{
	return aio_get_sqe(aio_this_loop);
}

/* A single piece of memory is cheaper than an array of one, which the kernel must fetch. */
static bool is_flat(const struct iovec *iov, unsigned niov)
{
	return niov == 1 && iov->iov_len <= INT_MAX;
}

ssize_t co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_preadv(fd, iov, niov, off);
	sqe = co_get_sqe();
	if (is_flat(iov, niov))
		io_uring_prep_read(sqe, fd, iov->iov_base, iov->iov_len, off);
	else
		io_uring_prep_readv(sqe, fd, iov, niov, off);
	return co_op_wait(sqe);
}

ssize_t co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int rw_flags)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_pwritev(fd, iov, niov, off, rw_flags);
	sqe = co_get_sqe();
	if (is_flat(iov, niov))
		io_uring_prep_write(sqe, fd, iov->iov_base, iov->iov_len, off);
	else
		io_uring_prep_writev(sqe, fd, iov, niov, off);
	sqe->rw_flags = rw_flags;
	return co_op_wait(sqe);
}

ssize_t co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	struct io_uring_sqe *sqe = co_get_sqe();

	io_uring_prep_read_fixed(sqe, fd, (void *)(uintptr_t)addr, bytes, off, index);
	return co_op_wait(sqe);
}

ssize_t co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	struct io_uring_sqe *sqe = co_get_sqe();

	io_uring_prep_write_fixed(sqe, fd, (void *)(uintptr_t)addr, bytes, off, index);
	return co_op_wait(sqe);
}

int co_fdatasync(int fd)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_fdatasync(fd);
	sqe = co_get_sqe();
	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	return co_op_wait(sqe);
}

int co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_fallocate(fd, mode, off, bytes);
	sqe = co_get_sqe();
	io_uring_prep_fallocate(sqe, fd, mode, off, bytes);
	return co_op_wait(sqe);
}

int co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_sync_file_range(fd, off, bytes, flags);
	sqe = co_get_sqe();
	io_uring_prep_sync_file_range(sqe, fd, bytes, off, flags);
	return co_op_wait(sqe);
}

/* ---- operations with a limit ---- */

/* How soon an operation that could not be cancelled yet is cancelled again. */
#define CANCEL_AGAIN_NS UINT64_C(1000000)

/*
 * The kernel may have up to two requests with its address: the operation, and one that cancels it.
 * The coroutine goes on when both are answered.
 */
struct limited_op {
	struct aio_op op;
	struct aio_op cancel_op;
	struct loop_wait wait;
	int32_t res;
	bool done; /* and res counts */
	bool cancelling;
};

static void limited_op_answered(struct limited_op *limited)
{
	if (limited->done && !limited->cancelling)
		loop_wait_wake(&limited->wait);
}

static void limited_op_done(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct limited_op *limited = (struct limited_op *)op;

	limited->res = res;
	limited->done = true;
	limited_op_answered(limited);
}

static void limited_op_cancelled(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct limited_op *limited = container_of(op, struct limited_op, cancel_op);

	limited->cancelling = false;
	/* It was just being run, and may go back to waiting. */
	if (res < 0 && !limited->done)
		limited->wait.end_ns = aio_ns_from_now(CANCEL_AGAIN_NS);
	limited_op_answered(limited);
}

static void limited_op_give_up(struct loop_wait *wait)
{
	struct limited_op *limited = container_of(wait, struct limited_op, wait);
	struct io_uring_sqe *sqe = co_get_sqe();

	io_uring_prep_cancel(sqe, &limited->op, 0);
	aio_sqe_set_op(sqe, &limited->cancel_op);
	limited->cancelling = true;
}

static int32_t co_op_wait_limited(struct io_uring_sqe *sqe, const struct aio_limit *limit)
{
	struct limited_op limited = {
		.op.done = limited_op_done,
		.cancel_op.done = limited_op_cancelled,
		.wait = {
			.co = co_self(),
			.limit = limit,
			.end_ns = limit->end_ns,
			.end = limited_op_give_up,
		},
	};

	aio_sqe_set_op(sqe, &limited.op);
	loop_wait_add(&limited.wait);
	co_yield();
	/* -EINTR: a thread of the kernel was carrying it out. */
	if (limited.wait.given_up && (limited.res == -ECANCELED || limited.res == -EINTR))
		return limit_reason(limit);
	return limited.res;
}

/* Sends @sqe and waits for the answer, with a limit that may be NULL. */
static int32_t co_op_wait_until(struct io_uring_sqe *sqe, const struct aio_limit *limit)
{
	return limit ? co_op_wait_limited(sqe, limit) : co_op_wait(sqe);
}

int co_poll(int fd, short events, struct aio_limit *limit)
{
	int res = limit_error(limit);
	struct io_uring_sqe *sqe;

	if (res)
		return res;
	if (!has_ring())
		return threads_co_poll(fd, events, limit);
	sqe = co_get_sqe();
	io_uring_prep_poll_add(sqe, fd, (unsigned short)events);
	return co_op_wait_until(sqe, limit);
}

int co_connect(int fd, const struct sockaddr *address, socklen_t len, struct aio_limit *limit)
{
	int res = limit_error(limit);
	struct io_uring_sqe *sqe;

	if (res)
		return res;
	if (!has_ring())
		return threads_co_connect(fd, address, len, limit);
	sqe = co_get_sqe();
	io_uring_prep_connect(sqe, fd, address, len);
	return co_op_wait_until(sqe, limit);
}

int co_accept(int fd, struct aio_limit *limit)
{
	int res = limit_error(limit);
	struct io_uring_sqe *sqe;

	if (res)
		return res;
	if (!has_ring())
		return threads_co_accept(fd, limit);
	sqe = co_get_sqe();
	io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	return co_op_wait_until(sqe, limit);
}

ssize_t co_sendmsg(int fd, const struct msghdr *msg, int flags, struct aio_limit *limit)
{
	int res = limit_error(limit);
	struct io_uring_sqe *sqe;

	if (res)
		return res;
	flags |= MSG_NOSIGNAL;
	if (!has_ring())
		return threads_co_sendmsg(fd, msg, flags, limit);
	sqe = co_get_sqe();
	io_uring_prep_sendmsg(sqe, fd, msg, flags);
	return co_op_wait_until(sqe, limit);
}

ssize_t co_recvmsg(int fd, struct msghdr *msg, int flags, struct aio_limit *limit)
{
	int res = limit_error(limit);
	struct io_uring_sqe *sqe;

	if (res)
		return res;
	if (!has_ring())
		return threads_co_recvmsg(fd, msg, flags, limit);
	sqe = co_get_sqe();
	io_uring_prep_recvmsg(sqe, fd, msg, flags);
	return co_op_wait_until(sqe, limit);
}

ssize_t co_send(int fd, const void *buf, size_t bytes, struct aio_limit *limit)
{
	struct iovec iov = { (void *)buf, bytes };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return co_sendmsg(fd, &msg, 0, limit);
}

ssize_t co_recv(int fd, void *buf, size_t bytes, struct aio_limit *limit)
{
	struct iovec iov = { buf, bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return co_recvmsg(fd, &msg, 0, limit);
}

ssize_t co_read_event(int fd, void *buf, size_t bytes, struct aio_limit *limit)
{
	for (;;) {
		int res = limit_error(limit);
		ssize_t ret = res ?: read(fd, buf, bytes);

		if (res || ret >= 0 || errno != EAGAIN)
			return res ?: ret < 0 ? -errno : ret;
		/* Not a read on the ring: for a signalfd, older kernels do it on a thread. */
		res = co_poll(fd, POLLIN, limit);
		if (res < 0)
			return res;
	}
}

void co_reschedule(void)
{
	co_wake(co_self());
	co_yield();
}

/* It completes behind those before it, unless they go on elsewhere. */
void co_turn(void)
{
	struct io_uring_sqe *sqe;

	if (!has_ring()) {
		co_reschedule();
		return;
	}
	sqe = co_get_sqe();
	io_uring_prep_nop(sqe);
	co_op_wait(sqe);
}
