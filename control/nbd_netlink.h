/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands to nbd.ko by generic netlink.
 *
 * They require CAP_SYS_ADMIN, even to end a device (keeper.h).
 */
#ifndef UBD_NBD_NETLINK_H
#define UBD_NBD_NETLINK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct nbd_netlink;

/* NULL with @err set on failure, which includes that nbd.ko is not loaded. */
struct nbd_netlink *nbd_netlink_new(GError **err);
/* NULL is fine. */
void nbd_netlink_free(struct nbd_netlink *nl);

struct nbd_connection {
	uint32_t id;
	const char *backend; /* at most 4000 characters; kernels before 5.14 forget it */
	const int *sockets;  /* the kernel's ends, which it keeps open itself */
	unsigned nr_sockets;
	/* Only for a new connection: */
	uint64_t size; /* bytes */
	uint32_t block_size;
	unsigned server_flags; /* NBD_FLAG_* */
	/*
	 * Seconds. After @timeout without an answer, a connection is dead; 0: never, if there is
	 * only one. Requests wait for a new connection for @dead_timeout, and then fail.
	 */
	uint64_t timeout, dead_timeout;
};

/* These can be called by any thread. 0 or -errno. */

/* -EBUSY: the device is in use. Creates the device if there is none with this number. */
int nbd_netlink_connect(struct nbd_netlink *nl, const struct nbd_connection *connection);
/*
 * Whether an unconnected device is open, and therefore cannot be connected. Creates the device if
 * there is none with this number.
 */
bool nbd_netlink_is_open(struct nbd_netlink *nl, uint32_t id);
/*
 * Replaces the sockets of dead connections. If there are fewer than @nr_sockets, the kernel
 * closes the remaining ones. -EINVAL: the device is not connected, or has another @backend.
 */
int nbd_netlink_reconnect(struct nbd_netlink *nl, const struct nbd_connection *connection);
int nbd_netlink_resize(struct nbd_netlink *nl, uint32_t id, const char *backend, uint64_t size);
/* Requests that have no answer fail. */
int nbd_netlink_disconnect(struct nbd_netlink *nl, uint32_t id);

#endif
