// SPDX-License-Identifier: GPL-2.0-or-later
/* A stream socket, with or without TLS; see channel.h. */
#include "channel.h"

#include <errno.h>
#include <glib.h>

#include "tls.h"

/* What is sent at a time, so that it is seen whether the peer takes it. */
#define SEND_BYTES (1u << 20)

static ssize_t count(uint64_t *counter, ssize_t moved)
{
	*counter += MAX(moved, 0);
	return moved;
}

ssize_t channel_co_recv(struct channel *channel, void *buf, size_t bytes, struct aio_limit *limit)
{
	if (channel->tls)
		return count(&channel->received, tls_co_recv(channel->tls, buf, bytes, limit));
	return count(&channel->received, co_recv(channel->fd, buf, bytes, limit));
}

ssize_t channel_co_recv2(struct channel *channel, const struct iovec iov[2],
			 struct aio_limit *limit)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = 2 };

	if (channel->tls)
		return count(&channel->received,
			     tls_co_recv(channel->tls, iov->iov_base, iov->iov_len, limit));
	return count(&channel->received, co_recvmsg(channel->fd, &msg, 0, limit));
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

/* At most SEND_BYTES: the number of whole pieces, or 1, of which *ret_bytes are sent. */
static unsigned first_pieces(const struct iovec *iov, unsigned niov, size_t *ret_bytes)
{
	unsigned nr = 1;

	*ret_bytes = MIN(iov->iov_len, SEND_BYTES);
	while (nr < niov && *ret_bytes + iov[nr].iov_len <= SEND_BYTES)
		*ret_bytes += iov[nr++].iov_len;
	return nr;
}

static ssize_t co_send_some(struct channel *channel, const struct iovec *iov, unsigned niov,
			    struct aio_limit *limit)
{
	size_t bytes;
	unsigned nr = first_pieces(iov, niov, &bytes);
	const struct iovec part = { iov->iov_base, bytes };
	const struct msghdr msg = {
		.msg_iov = nr == 1 ? (struct iovec *)&part : (struct iovec *)iov,
		.msg_iovlen = nr,
	};

	/* MSG_WAITALL: the kernel itself goes on after a part. */
	return count(&channel->sent, co_sendmsg(channel->fd, &msg, MSG_WAITALL, limit));
}

static int co_send_plain(struct channel *channel, struct iovec *iov, unsigned niov,
			 struct aio_limit *limit)
{
	while (niov) {
		ssize_t sent = co_send_some(channel, iov, niov, limit);

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
		return tls_co_send_all(channel->tls, iov, niov, &channel->sent, limit);
	return co_send_plain(channel, iov, niov, limit);
}
