/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A process that keeps the privileges that a server's devices need later, so that the server can
 * give up all of them before it reads an image: unlike ubd.ko, ublk_drv and nbd.ko require
 * CAP_SYS_ADMIN for each command.
 *
 * The keeper runs the server's own program. For each device it has a handle, and a socket to the
 * server, over which the server can only request the operations of that handle: a request
 * names no device, file or process. It gets the devices over another socket, which is closed to new
 * devices before the server reads an image. An attacker who takes over the server can stop, resize
 * and delete its devices, but no others. Devices that are added later are created by the keeper
 * itself, and must be ordered by another process (keeper_order.h). The keeper has none of the
 * server's files open except those that identify nbd.ko's server, and exits with the server. (With
 * nbd.ko, after the devices have ended, because the kernel does not end them.)
 */
#ifndef UBD_KEEPER_H
#define UBD_KEEPER_H

#include "transport.h"

/* The first argument of a keeper: main() must call keeper_main() then. */
#define KEEPER "--keeper"

/*
 * Hands a device of this process, which is or will be its server, to the keeper, which is started
 * with the first device. Returns a handle that asks the keeper, and which owns @transport; NULL
 * with
 * @err set on failure, and @transport still belongs to the caller. If the driver needs no keeper,
 * returns @transport. Main thread, as the next one.
 */
struct transport *keeper_start(struct transport *transport, GError **err);

/*
 * The keeper accepts no more devices, but adds ordered devices of the driver @adds (NULL: none).
 * Starts the keeper if there is none yet. < 0 with @err set.
 */
int keeper_seal(const struct transport_ops *adds, GError **err);

/*
 * Has the sealed keeper add a device of this driver, as described by the order in @order_fd, which
 * is always closed. Returns a handle that asks the keeper, and in *@ret_info what the driver has
 * granted; NULL with @err set. The device ends with its first handle. Any thread; may wait for the
 * driver.
 */
struct transport *keeper_add(const struct transport_ops *driver, int order_fd,
			     struct transport_info *ret_info, GError **err);

/* The keeper's exit status. */
int keeper_main(void);

#endif
