/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ends the device of a dead server. nbd.ko does not: requests that the server had would wait
 * for ever. So a server starts another process, which waits for its end, and then disconnects the
 * device, or with recovery, once the time for the next server has passed.
 *
 * The watcher is the server's own program. It keeps the server's privileges, and does nothing else
 * with them.
 */
#ifndef UBD_NBD_WATCHER_H
#define UBD_NBD_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd_netlink.h"

/* The first argument of a watcher: main() must call nbd_watcher_main() then. */
#define NBD_WATCHER "--nbd-watcher"

/* A descriptor that tells the watcher that we are alive, until it is closed; or -errno. */
int nbd_watcher_start(uint32_t id);

/* The watcher's exit status. @argv is main()'s. */
int nbd_watcher_main(char **argv);

/*
 * Disconnects the device if it is one of ours, and no process serves it. With @recoverable, also if
 * it waits for another server.
 */
void nbd_disconnect_orphan(struct nbd_netlink *nl, uint32_t id, bool recoverable);

#endif
