/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which process serves a ublk device. The driver repeats the number that the server has told it,
 * which is that of its own PID namespace, and may be any other process's here. So only a process
 * that has the device's char node open counts. If that was opened by the server's keeper
 * (keeper.h), the number is that of the keeper, whose parent is the server.
 */
#ifndef UBD_UBLK_SERVER_PID_H
#define UBD_UBLK_SERVER_PID_H

#include "ublk_command.h"

/* As in struct transport_info; also 0 if this process may not look into the server. */
int ublk_server_pid(struct ublk_device *device, const struct ublk_dev_info *wire);

#endif
