// SPDX-License-Identifier: GPL-2.0-or-later
/* Orders to a server's keeper; see keeper_order.h. */
#include "keeper_order.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "keeper_wire.h"

int keeper_order_new(const struct keeper_order *order, GError **err)
{
	int fds[2], res;

	/* SO_PEERCRED of either end is this process. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return error_set(err, -errno, "socketpair");
	res = keeper_send(fds[0], order, sizeof(*order), -1);
	close(fds[0]);
	if (res == 0)
		return fds[1];
	close(fds[1]);
	return error_set(err, res, "cannot send an order");
}

typedef int get_name_fn(int fd, struct sockaddr *name, socklen_t *bytes);

static bool has_no_name(get_name_fn *get_name, int fd)
{
	struct sockaddr_un name;
	socklen_t bytes = sizeof(name);

	return get_name(fd, (struct sockaddr *)&name, &bytes) == 0 && name.sun_family == AF_UNIX &&
	       bytes == offsetof(struct sockaddr_un, sun_path);
}

/* Sockets that were connected by a name have it at one end. */
static bool is_pair(int fd)
{
	socklen_t type_bytes = sizeof(int);
	int type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
	       type == SOCK_SEQPACKET && has_no_name(getsockname, fd) &&
	       has_no_name(getpeername, fd);
}

/*
 * The server has pairs that it has made itself or its keeper has, and its clients' sockets are
 * connected by a name. Its filter of system calls refuses to make a pair, or a process that could.
 *
 * The kernel does not tell whether that process has CAP_SYS_ADMIN. What /proc says of its number
 * may be about a later process, a later program, or a user namespace that it has made for itself.
 */
static bool is_from_another(int fd, pid_t server)
{
	struct ucred peer;
	socklen_t peer_bytes = sizeof(peer);

	return is_pair(fd) && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0) && peer.pid != server &&
	       peer.pid != getpid();
}

/* The one that has the right may have taken over what the server wants. */
static bool is_valid(const struct keeper_order *order)
{
	bool ends = false;

	for (unsigned i = 0; i < G_N_ELEMENTS(order->ways); i++) {
		if (order->ways[i] >= DATA_WAYS)
			return false;
		ends |= order->ways[i] == DATA_ANY;
	}
	return ends && order->ways[0] != DATA_ANY && order->driver < TRANSPORT_DRIVERS &&
	       order->info.queues > 0 && order->info.queues <= KEEPER_ORDER_MAX_QUEUES &&
	       order->info.depth > 0 && order->info.depth <= TRANSPORT_MAX_DEPTH &&
	       !order->info.recovery;
}

int keeper_order_take(int fd, pid_t server, struct keeper_order *ret_order, GError **err)
{
	struct keeper_order order;
	ssize_t got = -1;

	/* MSG_TRUNC: all that there is, so that a longer one is not an order. */
	if (is_from_another(fd, server))
		got = recv(fd, &order, sizeof(order), MSG_DONTWAIT | MSG_TRUNC);
	if (fd >= 0)
		close(fd);
	if (got != sizeof(order) || !is_valid(&order))
		return error_refuse(err, -EPERM,
				    "only a process with the right to add a device can order one");
	*ret_order = order;
	return 0;
}
