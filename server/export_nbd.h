/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections of NBD clients to exports. Each runs on one of a few loops (client_loops.h), on which
 * its requests are coroutines, so that a client that is slow or dies delays none of the others.
 *
 * Clients are not trusted. What one can take is bounded: the time for the handshake, the number and
 * the length of its options, memory for data, and a fixed number of requests. A client that wants
 * more waits, or is disconnected; nothing is allocated for a request.
 */
#ifndef UBD_EXPORT_NBD_H
#define UBD_EXPORT_NBD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "annotations.h"
#include "colock.h"
#include "hold.h"
#include "serve.h"

struct client_loops;
struct dirty_bits;
struct disk;
struct memory_budget;
struct nbd_client;
struct throttle_group;
struct tls_keys;

/* A bitmap that clients can ask for. */
struct nbd_client_bitmap {
	char *name;
	struct dirty_bits *bits; /* nobody changes them */
};

/* An export that clients can ask for by its name. Nobody changes it while they can. */
struct nbd_export {
	const char *name;
	const char *description; /* NULL: none */
	struct disk *disk;
	bool read_only;
	bool discard;			   /* accept NBD_CMD_TRIM, and free space */
	bool page_cache;		   /* has the image's data, or some of it */
	bool allocation_depth;		   /* offer qemu:allocation-depth */
	struct nbd_client_bitmap *bitmaps; /* offered as qemu:dirty-bitmap:NAME */
	unsigned nr_bitmaps;
	const struct hold_policy *hold;
	const struct request_limits *limits;
	struct throttle_group *throttle;
	struct memory_budget *places; /* of clients, each 1 from its handshake on; NULL: no limit */
	int event_fd;		      /* an eventfd to signal news of clients that were served */
	uint64_t serial;	      /* of nbd_exports_offer() */
	struct nbd_export *next;
};

/* All that can be asked for now. Any thread. */
struct nbd_exports {
	struct thread_lock lock;
	struct nbd_export *first GUARDED_BY(lock);
	uint64_t last_serial GUARDED_BY(lock);
};

void nbd_exports_init(struct nbd_exports *exports);
void nbd_exports_destroy(struct nbd_exports *exports);
/*
 * Clients can ask for it from now on, until nbd_exports_withdraw(): it stays the caller's, who
 * keeps it until no connection has it any more. False: there is another one of this name.
 */
bool nbd_exports_offer(struct nbd_exports *exports, struct nbd_export *export);
/* No more clients get it. Nothing happens if it was not offered. */
void nbd_exports_withdraw(struct nbd_exports *exports, struct nbd_export *export);

/* What all connections of a listener share. Nobody changes it while there are any. */
struct nbd_client_settings {
	struct nbd_exports *exports;
	struct client_loops *loops;
	struct tls_keys *tls;	      /* TLS is required; NULL: it is refused */
	uint16_t depth;		      /* requests in flight for each connection */
	struct memory_budget *memory; /* beyond what each client has; at least NBD_MAX_PAYLOAD */
	uint64_t stall_ns;	   /* after which one is dropped that others wait for; 0: default */
	uint64_t handshake_ns;	   /* time for the whole handshake; AIO_NEVER */
	uint64_t last_requests_ns; /* for those under way when it is stopped; 0: default */
	int event_fd; /* an eventfd to signal nbd_client_ended() of one that was not served */
};

/*
 * Serves the client at the other end of @fd, which belongs to the connection from now on, even on
 * failure. The caller keeps @settings, and frees the connection with nbd_client_free(). NULL with
 * @err set on failure. Any thread, as the other functions.
 */
struct nbd_client *nbd_client_new(const struct nbd_client_settings *settings, int fd, GError **err);

/* Whether the client is gone, and nbd_client_free() does not wait. */
bool nbd_client_ended(const struct nbd_client *client);

/*
 * The export that it has chosen, maybe not for good while its handshake lasts; NULL: none yet.
 */
const struct nbd_export *nbd_client_export(struct nbd_client *client);

/* Whether its handshake has succeeded. */
bool nbd_client_was_served(const struct nbd_client *client);

/* Whether its loop has responded since the last call. One thread only. */
bool nbd_client_is_alive(struct nbd_client *client);

/* Its requests: for their statistics, and for what has happened to them. */
struct serve *nbd_client_serve(struct nbd_client *client);

/* By default. What takes longer is cut short, if it can be. */
#define NBD_LAST_REQUESTS_NS UINT64_C(10000000000)

/* Takes no more requests; those in flight are answered, and then the connection ends. Main thread.
 */
void nbd_client_stop(struct nbd_client *client);
/*
 * After that: drops the client if it has been all that its connection waited for since the last
 * call, or since it was stopped. Main thread.
 */
void nbd_client_drop_late(struct nbd_client *client);
/* Drops the client at once; requests in flight still end. */
void nbd_client_drop(struct nbd_client *client);

/* Waits for the end of the connection, and frees it. NULL is fine. */
void nbd_client_free(struct nbd_client *client);

#endif
