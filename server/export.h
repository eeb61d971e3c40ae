/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An export: a disk that is served over a socket, without a driver. The exports of a process have
 * one listener, and clients choose by name. Each client is a connection (export_nbd.h). Main loop
 * only.
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

/* Of all exports together. */
#define EXPORT_MAX_CLIENTS     128
#define EXPORT_DEFAULT_CLIENTS 16
/* For all clients together: each has a stack, of which a process has a limited number. */
#define EXPORT_MAX_REQUESTS    8192
/* The answers to NBD_CMD_BLOCK_STATUS have a fixed number of pieces. */
#define EXPORT_MAX_BITMAPS     14

/* Memory for data, in addition to each client's own: the minimum and the default. */
#define EXPORT_MIN_MEMORY      (UINT64_C(32) << 20)
#define EXPORT_DEFAULT_MEMORY  (UINT64_C(256) << 20)

/* From the command line. */
struct export_options {
	struct export_address address;
	char *name;	   /* for clients to ask for; may be empty */
	char *description; /* NULL: none */
	char **bitmaps;	   /* names; NULL: none */
	bool allocation_depth;
	bool once;	      /* it ends with its last client */
	unsigned max_clients; /* of this export at a time; the next one waits */
	uint64_t memory;      /* bytes for the data of all clients, in addition to their own */
	unsigned handshake_s; /* for a client's handshake; 0: no limit */
	struct tls_config tls;
};

struct export_listener;

/*
 * Listens, but serves nobody before export_listener_start(). @options: only those that apply to all
 * exports are used; @depth: requests in flight for each client; @several: there may be more than
 * one export. NULL with @err set, and nothing is left behind. Free it with
 * export_listener_co_free(), after all exports.
 */
struct export_listener *export_listener_co_new(const struct export_options *options, uint16_t depth,
					       bool several, GError **err);

/* Clients are served from now on. NULL is fine. */
void export_listener_start(struct export_listener *on);
/* No more clients come. NULL is fine. */
void export_listener_co_stop(struct export_listener *on);
/* NULL is fine. */
void export_listener_co_free(struct export_listener *on);

struct export_config {
	struct export_listener *on;
	struct disk *disk;
	const struct export_options *options;
	bool discard; /* accept trims */
	struct hold_policy hold;
	struct throttle_group *throttle; /* NULL: none */
	guint64 watchdog_us;		 /* of supervisor_watchdog_us() */
};

/*
 * Adds an export, which clients can ask for once it was started. The disk may have no image yet.
 * The caller keeps everything that @config points to. NULL with @err set, and nothing is left
 * behind.
 */
struct target *export_co_add(const struct export_config *config, GError **err);

#endif
