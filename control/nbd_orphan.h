/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ends the device of a dead server. nbd.ko does not: requests that the server had would wait
 * for ever.
 */
#ifndef UBD_NBD_ORPHAN_H
#define UBD_NBD_ORPHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd_netlink.h"

/*
 * For the keeper of a server that is ending: disconnects the device, or with recovery, once the
 * time for the next server has passed. Until then it waits.
 */
void nbd_orphan_end(struct nbd_netlink *nl, uint32_t id);

/*
 * Disconnects the device if it is one of ours, and no process serves it. With @recoverable, also if
 * it waits for another server.
 */
void nbd_orphan_disconnect(struct nbd_netlink *nl, uint32_t id, bool recoverable);

#endif
