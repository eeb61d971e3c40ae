/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream socket to a peer, in plain text or, once tls_co_begin() has succeeded, encrypted. One
 * coroutine may receive while another one sends. On the loop's thread only.
 */
#ifndef UBD_CHANNEL_H
#define UBD_CHANNEL_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "aio.h"

struct tls_session;

struct channel {
	int fd;
	struct tls_session *tls; /* NULL: plain text */
	uint64_t sent, received; /* bytes so far, of a long send also some of it */
};

/* Receives up to @bytes. The number; 0: the peer has closed; -errno, and as for co_recv(). */
ssize_t channel_co_recv(struct channel *channel, void *buf, size_t bytes, struct aio_limit *limit);

/* The same into two places, the first one first. */
ssize_t channel_co_recv2(struct channel *channel, const struct iovec iov[2],
			 struct aio_limit *limit);

/* Receives exactly @bytes. 0 or -errno; -ECONNRESET: the peer has closed before. */
int channel_co_recv_all(struct channel *channel, void *buf, size_t bytes, struct aio_limit *limit);

/* Sends everything, and may change @iov. 0 or -errno. */
int channel_co_send_all(struct channel *channel, struct iovec *iov, unsigned niov,
			struct aio_limit *limit);

#endif
