/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An order to a server's keeper (keeper.h) to add a device. The server itself may not give orders,
 * because it has given up the right to add devices. Another process passes one end of a socket pair
 * through the server: the order waits in it, and the kernel tells the keeper which process and user
 * have created it. The server can neither change nor create an order, and each order adds one
 * device.
 *
 * The server cannot create one because it has another user than the keeper or, if it has the same,
 * because of its system call filter. Root's processes may also order without CAP_SYS_ADMIN: a
 * process that can pass on an order already commands the server, and only gets an image that
 * --allow-add allows.
 */
#ifndef UBD_KEEPER_ORDER_H
#define UBD_KEEPER_ORDER_H

#include "transport.h"

/* The most queues of a new device. */
#define KEEPER_ORDER_MAX_QUEUES 128

struct keeper_order {
	enum transport_driver driver;
	enum data_way ways[DATA_WAYS]; /* as for transport_add() */
	struct transport_info info;    /* without recovery */
	struct identity identity;
};

/* A descriptor for the server, which the caller closes; < 0 with @err set. Any thread. */
int keeper_order_new(const struct keeper_order *order, GError **err);

/*
 * Reads the order from @fd, and closes @fd. The order must come from a process of this process's
 * user or root that is neither this process nor @server. Does not wait. < 0 with @err set.
 */
int keeper_order_take(int fd, pid_t server, struct keeper_order *ret_order, GError **err);

#endif
