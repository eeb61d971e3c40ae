/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An order to a server's keeper (keeper.h): add a device. A server may not give it, because it has
 * given up the right to add devices. Somebody else passes one end of a socket pair on, through the
 * server: the order waits in it, and the kernel tells the keeper which process has made it, and
 * which user's that is. The server can neither change an order nor make one, and each adds one
 * device.
 *
 * That the server cannot make one rests on its user, if that is not the keeper's, and otherwise on
 * its filter of system calls. Root's processes may order without CAP_SYS_ADMIN, too: whoever can
 * pass an order on commands the server, and gets nothing but an image that --allow-add allows.
 */
#ifndef UBD_KEEPER_ORDER_H
#define UBD_KEEPER_ORDER_H

#include "transport.h"

/* What a new device can have. */
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
 * Takes the order out of @fd, which it closes. It must come from a process of this one's user
 * or root that is neither this one nor @server. It does not wait. < 0 with @err set.
 */
int keeper_order_take(int fd, pid_t server, struct keeper_order *ret_order, GError **err);

#endif
