// SPDX-License-Identifier: GPL-2.0-or-later
/* Orders to a server's keeper; see keeper_order.h. */
#include "keeper_order.h"

#include <errno.h>
#include <sys/socket.h>
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

/*
 * The server has sockets of its own, of its keeper, and of its clients. The last ones are streams.
 */
static bool is_from_another(int fd, pid_t server)
{
	struct ucred peer;
	socklen_t peer_bytes = sizeof(peer), type_bytes = sizeof(int);
	int type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_bytes) == 0 &&
	       type == SOCK_SEQPACKET &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_bytes) == 0 &&
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
