// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations of coroutines: one SQE each, filled, awaited, its result returned. On a loop without a
 * ring ops_threads.c does them.
 */
#include "aio.h"

#include <errno.h>
#include <limits.h>

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
	co_wake(wait->co);
}

/* Sends @sqe and waits for the answer. */
static int32_t co_op_wait(struct io_uring_sqe *sqe)
{
	struct co_op wait = { .op.done = co_op_done, .co = co_self() };

	aio_sqe_set_op(sqe, &wait.op);
	co_yield();
	return wait.res;
}

static bool has_ring(void)
{
	return aio_loop_has_ring(aio_loop_current());
}

static struct io_uring_sqe *co_get_sqe(void)
{
	return aio_get_sqe(aio_loop_current());
}

/* One piece of memory is cheaper as such than as an array of one, which the kernel must fetch. */
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

void co_sleep_ns(uint64_t ns)
{
	struct __kernel_timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	struct io_uring_sqe *sqe;

	if (!has_ring()) {
		threads_co_sleep_ns(ns);
		return;
	}
	sqe = co_get_sqe();
	io_uring_prep_timeout(sqe, &ts, 0, 0);
	co_op_wait(sqe);
}

int co_poll(int fd, short events)
{
	struct io_uring_sqe *sqe;

	if (!has_ring())
		return threads_co_poll(fd, events);
	sqe = co_get_sqe();
	io_uring_prep_poll_add(sqe, fd, (unsigned short)events);
	return co_op_wait(sqe);
}

void co_reschedule(void)
{
	co_wake(co_self());
	co_yield();
}
