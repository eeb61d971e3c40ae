/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ends the device of a dead server. nbd.ko does not do that: the server's requests would wait
 * forever.
 */
#ifndef UBD_NBD_ORPHAN_H
#define UBD_NBD_ORPHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd_netlink.h"

/*
 * For the keeper of a server that has ended, which @was_live or never began: disconnects the
 * device. With recovery, first waits until the recovery timeout has passed. If it is told to end by
 * a signal for servers, the device waits without it, and the keeper of a later server goes on.
 */
void nbd_orphan_end(struct nbd_netlink *nl, uint32_t id, bool was_live);

/* Whether no server has come for a device with recovery in the time that it has. */
bool nbd_orphan_is_overdue(uint32_t id);

/*
 * Disconnects the device if it is one of ours and no process serves it. With @recoverable, also if
 * it waits for another server.
 */
void nbd_orphan_disconnect(struct nbd_netlink *nl, uint32_t id, bool recoverable);

#endif
