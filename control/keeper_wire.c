// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages between a server and its keeper; see keeper_wire.h. */
#include "keeper_wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "passed_fds.h"

int keeper_send(int sock, const void *data, size_t bytes, int fd)
{
	struct iovec iov = { (void *)data, bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passed_fds room;
	ssize_t sent;

	if (fd >= 0)
		passed_fds_put(&msg, &room, &fd, 1);
	do {
		sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int keeper_receive(int sock, void *data, size_t bytes, int *ret_fd)
{
	struct iovec iov = { data, bytes };
	union passed_fds room;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &room,
		.msg_controllen = sizeof(room),
	};
	int fds[PASSED_FDS_MAX];
	unsigned nr;
	ssize_t got;

	*ret_fd = -1;
	do {
		got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	nr = passed_fds_take(&msg, fds);
	if (nr <= 1 && (size_t)got == bytes && !(msg.msg_flags & MSG_TRUNC)) {
		*ret_fd = nr ? fds[0] : -1;
		return 0;
	}
	while (nr)
		close(fds[--nr]);
	return -EPIPE;
}
