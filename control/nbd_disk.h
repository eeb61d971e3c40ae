/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the disk of an nbd device appear and disappear for its users as other drivers' disks do.
 * Waits for the disk's server; any thread except the server's main loop.
 */
#ifndef UBD_NBD_DISK_H
#define UBD_NBD_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd_netlink.h"

/* Makes the kernel look for partitions. */
void nbd_disk_scan(uint32_t id);

/* Once it has been disconnected, and nobody has it open any more; otherwise does nothing. */
void nbd_disk_forget_partitions(uint32_t id);

/*
 * Disconnects the device, and removes its partitions unless somebody has it open. With @serves, a
 * server still answers, so requests in flight get some time to finish before the kernel fails them.
 * 0 or
 * -errno.
 */
int nbd_disk_end(struct nbd_netlink *nl, uint32_t id, bool serves);

#endif
