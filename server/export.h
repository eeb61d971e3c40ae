/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An export: the disk is served over a socket, without a driver. Each client is a connection with
 * its own thread (export_nbd.h); this is the listener, and what the main loop does for them.
 */
#ifndef UBD_EXPORT_H
#define UBD_EXPORT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "export_address.h"
#include "hold.h"
#include "target.h"
#include "tls.h"

struct disk;
struct throttle_group;

/* Each client has an aio loop, and so has the main thread. */
#define EXPORT_MAX_CLIENTS     128
#define EXPORT_DEFAULT_CLIENTS 16
/* For all clients together: each has a stack, of which a process has a limited number. */
#define EXPORT_MAX_REQUESTS    8192
/* The answers to NBD_CMD_BLOCK_STATUS have a fixed number of pieces. */
#define EXPORT_MAX_BITMAPS     14

/* Of memory for data, beyond what each client has: the least, and the default. */
#define EXPORT_MIN_MEMORY      (UINT64_C(32) << 20)
#define EXPORT_DEFAULT_MEMORY  (UINT64_C(256) << 20)

/* As the command line asks for it. */
struct export_options {
	struct export_address address;
	const char *name;	 /* what clients ask for; may be empty */
	const char *description; /* NULL: none */
	char **bitmaps;		 /* names; NULL: none */
	bool allocation_depth;
	bool once;	      /* it ends with its last client */
	unsigned max_clients; /* at a time; the next one waits */
	uint64_t memory;      /* bytes for the data of all clients, beyond what each has */
	unsigned handshake_s; /* for a client's handshake; 0: no limit */
	struct tls_config tls;
};

struct export_config {
	struct disk *disk;
	const struct export_options *options;
	bool discard;	/* accept trims */
	uint16_t depth; /* requests in flight for each client */
	struct hold_policy hold;
	struct throttle_group *throttle; /* NULL: none */
	guint64 watchdog_us;		 /* of supervisor_watchdog_us() */
};

/*
 * Listens, but serves nobody yet; the disk may have no image yet. The caller keeps what @config
 * points to. NULL with @err set, and nothing is left behind.
 */
struct target *export_co_add(const struct export_config *config, GError **err);

#endif
