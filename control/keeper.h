/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that keeps the privileges which a server's devices need later, so that the server can
 * give up all of them before it looks at an image: ublk_drv and nbd.ko ask for CAP_SYS_ADMIN with
 * each command, and ubd.ko does not.
 *
 * The keeper is the server's own program. For each device it has a handle, and a socket to the
 * server, by which it is asked for the operations of that handle and for nothing else: a request
 * names no device, no file and no process. It gets the devices by another socket, on which it takes
 * none any more when the server looks at an image. Whoever takes over the server can stop, resize
 * and delete its devices, but no other. Devices that are added later are the keeper's own work,
 * which somebody else must order (keeper_order.h). The keeper has none of the server's files open
 * but those that nbd.ko's server is recognised by, and ends with the server. (With nbd.ko, after
 * the devices have, which the kernel leaves as they are.)
 */
#ifndef UBD_KEEPER_H
#define UBD_KEEPER_H

#include "transport.h"

/* The first argument of a keeper: main() must call keeper_main() then. */
#define KEEPER "--keeper"

/*
 * Gives a device of this process, which is its server or will be, to the keeper, which is started
 * for the first one. Returns a handle that asks the keeper, and which owns @transport; NULL with
 * @err set on failure, and @transport is still the caller's. A driver that needs no keeper gets
 * @transport back. Main thread, as the next one.
 */
struct transport *keeper_start(struct transport *transport, GError **err);

/*
 * The keeper gets no more devices; but of @adds (NULL: of no driver), it adds those that are
 * ordered. It is started if there is none yet. < 0 with @err set.
 */
int keeper_seal(const struct transport_ops *adds, GError **err);

/*
 * Has the sealed keeper add a device of this driver, as ordered by what @order_fd leads to, which
 * is always closed. Returns a handle that asks the keeper, and *@ret_info as the driver has granted
 * it; NULL with @err set. The device ends with its first handle. Any thread; it may wait for the
 * driver.
 */
struct transport *keeper_add(const struct transport_ops *driver, int order_fd,
			     struct transport_info *ret_info, GError **err);

/* The keeper's exit status. */
int keeper_main(void);

#endif
