// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands to nbd.ko; see nbd_netlink.h. */
#include "nbd_netlink.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

struct nbd_netlink {
	GMutex lock; /* one command at a time */
	struct nl_sock *sock;
	int family;
};

/* ---- messages ---- */

struct reply {
	bool done;
	int res;
};

static int acknowledged(struct nl_msg *msg, void *arg)
{
	((struct reply *)arg)->done = true;
	return NL_STOP;
}

static int failed(struct sockaddr_nl *from, struct nlmsgerr *error, void *arg)
{
	*(struct reply *)arg = (struct reply){ .done = true, .res = error->error };
	return NL_STOP;
}

static int receive_reply(struct nbd_netlink *nl)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	struct reply reply = { 0 };
	int res = 0;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, acknowledged, &reply);
	nl_cb_err(cb, NL_CB_CUSTOM, failed, &reply);
	while (!reply.done && res >= 0)
		res = nl_recvmsgs(nl->sock, cb);
	nl_cb_put(cb);
	return reply.done ? reply.res : -EIO;
}

/* Sends @msg, frees it, and waits for the answer. */
static int command(struct nbd_netlink *nl, struct nl_msg *msg)
{
	int res;

	g_mutex_lock(&nl->lock);
	nl_complete_msg(nl->sock, msg);
	res = nl_send(nl->sock, msg);
	res = res < 0 ? -EIO : receive_reply(nl);
	g_mutex_unlock(&nl->lock);
	nlmsg_free(msg);
	return res;
}

/* NULL without memory. */
static struct nl_msg *new_message(const struct nbd_netlink *nl, uint8_t cmd, uint32_t id)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (msg &&
	    genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0, 0, cmd, NBD_GENL_VERSION) &&
	    nla_put_u32(msg, NBD_ATTR_INDEX, id) == 0)
		return msg;
	if (msg)
		nlmsg_free(msg);
	return NULL;
}

static int put_sockets(struct nl_msg *msg, const struct nbd_connection *connection)
{
	struct nlattr *all = nla_nest_start(msg, NBD_ATTR_SOCKETS);
	int res = all ? 0 : -NLE_NOMEM;

	for (unsigned i = 0; i < connection->nr_sockets && !res; i++) {
		struct nlattr *item = nla_nest_start(msg, NBD_SOCK_ITEM);

		res = item ? nla_put_u32(msg, NBD_SOCK_FD, connection->sockets[i]) : -NLE_NOMEM;
		if (!res)
			nla_nest_end(msg, item);
	}
	if (!res)
		nla_nest_end(msg, all);
	return res;
}

int nbd_netlink_connect(struct nbd_netlink *nl, const struct nbd_connection *connection)
{
	struct nl_msg *msg = new_message(nl, NBD_CMD_CONNECT, connection->id);
	int res;

	if (!msg)
		return -ENOMEM;
	res = nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, connection->size)
		      ?: nla_put_u64(msg, NBD_ATTR_BLOCK_SIZE_BYTES, connection->block_size)
		      ?: nla_put_u64(msg, NBD_ATTR_SERVER_FLAGS, connection->server_flags)
		      ?: nla_put_u64(msg, NBD_ATTR_TIMEOUT, connection->timeout)
		      ?: nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, connection->dead_timeout)
		      ?: nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, connection->backend)
		      ?: put_sockets(msg, connection);
	if (!res)
		return command(nl, msg);
	nlmsg_free(msg);
	return -ENOMEM;
}

/*
 * The kernel looks at the socket only after that, and gives up, as this is none. A device without a
 * size goes without an event for udev, which would open it.
 */
bool nbd_netlink_is_open(struct nbd_netlink *nl, uint32_t id)
{
	static const int no_socket = -1;
	const struct nbd_connection connection = {
		.id = id,
		.backend = "",
		.sockets = &no_socket,
		.nr_sockets = 1,
		.block_size = 512,
	};

	return nbd_netlink_connect(nl, &connection) == -EBUSY;
}

int nbd_netlink_reconnect(struct nbd_netlink *nl, const struct nbd_connection *connection)
{
	struct nl_msg *msg = new_message(nl, NBD_CMD_RECONFIGURE, connection->id);

	if (!msg)
		return -ENOMEM;
	if (nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, connection->backend) == 0 &&
	    put_sockets(msg, connection) == 0)
		return command(nl, msg);
	nlmsg_free(msg);
	return -ENOMEM;
}

int nbd_netlink_resize(struct nbd_netlink *nl, uint32_t id, const char *backend, uint64_t size)
{
	struct nl_msg *msg = new_message(nl, NBD_CMD_RECONFIGURE, id);

	if (!msg)
		return -ENOMEM;
	if (nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, backend) == 0 &&
	    nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, size) == 0)
		return command(nl, msg);
	nlmsg_free(msg);
	return -ENOMEM;
}

int nbd_netlink_disconnect(struct nbd_netlink *nl, uint32_t id)
{
	struct nl_msg *msg = new_message(nl, NBD_CMD_DISCONNECT, id);

	return msg ? command(nl, msg) : -ENOMEM;
}

/* ---- begin and end ---- */

static int open_family(struct nbd_netlink *nl, GError **err)
{
	int res;

	nl->sock = nl_socket_alloc();
	if (!nl->sock)
		return error_set(err, -ENOMEM, "netlink");
	res = genl_connect(nl->sock);
	if (res < 0)
		return error_refuse(err, -EIO, "cannot use netlink: %s", nl_geterror(res));
	nl->family = genl_ctrl_resolve(nl->sock, NBD_GENL_FAMILY_NAME);
	if (nl->family < 0)
		return error_refuse(
			err, -ENOENT,
			"nbd.ko is not loaded (modprobe nbd), or this is not the network "
			"namespace in which it can be controlled");
	return 0;
}

struct nbd_netlink *nbd_netlink_new(GError **err)
{
	struct nbd_netlink *nl = g_new0(struct nbd_netlink, 1);

	g_mutex_init(&nl->lock);
	if (open_family(nl, err) == 0)
		return nl;
	nbd_netlink_free(nl);
	return NULL;
}

void nbd_netlink_free(struct nbd_netlink *nl)
{
	if (!nl)
		return;
	if (nl->sock)
		nl_socket_free(nl->sock);
	g_mutex_clear(&nl->lock);
	g_free(nl);
}
