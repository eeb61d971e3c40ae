/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the disk of an nbd device comes and goes for its users, in the way other drivers' disks do by
 * themselves. Waits for the disk's server; any thread, but the server's main loop.
 */
#ifndef UBD_NBD_DISK_H
#define UBD_NBD_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd_netlink.h"

/* Makes the kernel look for partitions. */
void nbd_disk_scan(uint32_t id);

/*
 * Disconnects the device, and its partitions go unless somebody has one open. With @serves, a
 * server answers: requests in flight get some time to end before the kernel fails them. 0 or
 * -errno.
 */
int nbd_disk_end(struct nbd_netlink *nl, uint32_t id, bool serves);

#endif
