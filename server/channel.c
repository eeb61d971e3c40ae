// SPDX-License-Identifier: GPL-2.0-or-later
/* A stream socket, with or without TLS; see channel.h. */
#include "channel.h"

#include <errno.h>

#include "tls.h"

ssize_t channel_co_recv(struct channel *channel, void *buf, size_t bytes, struct aio_limit *limit)
{
	if (channel->tls)
		return tls_co_recv(channel->tls, buf, bytes, limit);
	return co_recv(channel->fd, buf, bytes, limit);
}

ssize_t channel_co_recv2(struct channel *channel, const struct iovec iov[2],
			 struct aio_limit *limit)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = 2 };

	if (channel->tls)
		return tls_co_recv(channel->tls, iov->iov_base, iov->iov_len, limit);
	return co_recvmsg(channel->fd, &msg, 0, limit);
}

int channel_co_recv_all(struct channel *channel, void *buf, size_t bytes, struct aio_limit *limit)
{
	while (bytes) {
		ssize_t got = channel_co_recv(channel, buf, bytes, limit);

		if (got <= 0)
			return got < 0 ? got : -ECONNRESET;
		buf = (char *)buf + got;
		bytes -= got;
	}
	return 0;
}

static int co_send_plain(int fd, struct iovec *iov, unsigned niov, struct aio_limit *limit)
{
	while (niov) {
		const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = niov };
		/* MSG_WAITALL: the kernel itself goes on after a part. */
		ssize_t sent = co_sendmsg(fd, &msg, MSG_WAITALL, limit);

		if (sent < 0)
			return sent;
		for (; niov && (size_t)sent >= iov->iov_len; iov++, niov--)
			sent -= iov->iov_len;
		if (niov) {
			iov->iov_base = (char *)iov->iov_base + sent;
			iov->iov_len -= sent;
		}
	}
	return 0;
}

int channel_co_send_all(struct channel *channel, struct iovec *iov, unsigned niov,
			struct aio_limit *limit)
{
	if (channel->tls)
		return tls_co_send_all(channel->tls, iov, niov, limit);
	return co_send_plain(channel->fd, iov, niov, limit);
}
