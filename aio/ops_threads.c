// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations of coroutines on a loop without a ring. Operations on files of a disk are system calls
 * on the worker pool. An operation that waits for a socket, or for another file that supports
 * poll(2), takes no thread: the loop itself waits for the file, and makes the call once it would
 * not wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "aio.h"
#include "internal.h"

struct call {
	int fd;
	const struct iovec *iov;
	unsigned niov;
	int flags; /* RWF_*, SYNC_FILE_RANGE_*, or the mode of fallocate */
	uint64_t off;
	uint64_t bytes;
};

static int preadv_call(void *arg)
{
	const struct call *call = arg;
	ssize_t ret = preadv(call->fd, call->iov, call->niov, call->off);

	return ret < 0 ? -errno : ret;
}

static int pwritev_call(void *arg)
{
	const struct call *call = arg;
	ssize_t ret = pwritev2(call->fd, call->iov, call->niov, call->off, call->flags);

	return ret < 0 ? -errno : ret;
}

static int fdatasync_call(void *arg)
{
	const struct call *call = arg;

	return fdatasync(call->fd) < 0 ? -errno : 0;
}

static int fallocate_call(void *arg)
{
	const struct call *call = arg;

	return fallocate(call->fd, call->flags, call->off, call->bytes) < 0 ? -errno : 0;
}

static int sync_file_range_call(void *arg)
{
	const struct call *call = arg;

	return sync_file_range(call->fd, call->off, call->bytes, call->flags) < 0 ? -errno : 0;
}

ssize_t threads_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	struct call call = { .fd = fd, .iov = iov, .niov = niov, .off = off };

	return co_block_on_worker(preadv_call, &call);
}

ssize_t threads_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off,
			   int rw_flags)
{
	struct call call = {
		.fd = fd,
		.iov = iov,
		.niov = niov,
		.off = off,
		.flags = rw_flags,
	};

	return co_block_on_worker(pwritev_call, &call);
}

int threads_co_fdatasync(int fd)
{
	struct call call = { .fd = fd };

	return co_block_on_worker(fdatasync_call, &call);
}

int threads_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	struct call call = { .fd = fd, .flags = mode, .off = off, .bytes = bytes };

	return co_block_on_worker(fallocate_call, &call);
}

int threads_co_sync_file_range(int fd, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct call call = { .fd = fd, .flags = flags, .off = off, .bytes = bytes };

	return co_block_on_worker(sync_file_range_call, &call);
}

/* ---- waiting for files ---- */

int threads_co_poll(int fd, short events, struct aio_limit *limit)
{
	struct loop_wait wait = {
		.co = co_self(),
		.limit = limit,
		.end_ns = limit ? limit->end_ns : AIO_NEVER,
		.end = loop_wait_wake,
		.fd = fd,
		.events = events,
	};

	if (fd < 0)
		return -EBADF;
	loop_wait_add(&wait);
	co_yield();
	if (wait.found & POLLNVAL)
		return -EBADF;
	return wait.found ?: limit_reason(limit);
}

/* ---- sockets ---- */

/* poll(2) cannot wait for room in the full backlog of a UNIX socket. */
#define BACKLOG_PAUSE_NS UINT64_C(10000000)

ssize_t threads_co_sendmsg(int fd, const struct msghdr *msg, int flags, struct aio_limit *limit)
{
	for (;;) {
		ssize_t ret = sendmsg(fd, msg, flags | MSG_DONTWAIT);
		int res;

		if (ret >= 0 || errno != EAGAIN)
			return ret < 0 ? -errno : ret;
		res = threads_co_poll(fd, POLLOUT, limit);
		if (res < 0)
			return res;
	}
}

ssize_t threads_co_recvmsg(int fd, struct msghdr *msg, int flags, struct aio_limit *limit)
{
	for (;;) {
		ssize_t ret = recvmsg(fd, msg, flags | MSG_DONTWAIT);
		int res;

		if (ret >= 0 || errno != EAGAIN)
			return ret < 0 ? -errno : ret;
		res = threads_co_poll(fd, POLLIN, limit);
		if (res < 0)
			return res;
	}
}

/* accept() and connect() take no MSG_DONTWAIT; the file's mode is restored when they return. */
static int accept_now(int fd)
{
	int flags = fcntl(fd, F_GETFL), ret, error;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	ret = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	error = errno;
	fcntl(fd, F_SETFL, flags);
	return ret < 0 ? -error : ret;
}

static int connect_now(int fd, const struct sockaddr *address, socklen_t len)
{
	int flags = fcntl(fd, F_GETFL), ret, error;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	ret = connect(fd, address, len);
	error = errno;
	fcntl(fd, F_SETFL, flags);
	return ret < 0 ? -error : 0;
}

int threads_co_accept(int fd, struct aio_limit *limit)
{
	for (;;) {
		int ret = accept_now(fd), res;

		if (ret != -EAGAIN)
			return ret;
		res = threads_co_poll(fd, POLLIN, limit);
		if (res < 0)
			return res;
	}
}

static int co_pause_for_backlog(struct aio_limit *limit)
{
	co_sleep_ns(BACKLOG_PAUSE_NS);
	return limit_error(limit);
}

int threads_co_connect(int fd, const struct sockaddr *address, socklen_t len,
		       struct aio_limit *limit)
{
	int res = connect_now(fd, address, len), error;
	socklen_t size = sizeof(error);

	while (res == -EAGAIN) {
		res = co_pause_for_backlog(limit);
		if (res < 0)
			return res;
		res = connect_now(fd, address, len);
	}
	if (res != -EINPROGRESS)
		return res;
	res = threads_co_poll(fd, POLLOUT, limit);
	if (res < 0)
		return res;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}
