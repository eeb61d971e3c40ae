/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections of NBD clients to an export. Each has a thread with its own loop, on which its
 * requests are coroutines, so that a client that is slow or dies delays none of the others.
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

#include "hold.h"
#include "serve.h"

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

/* What all connections of an export share. Nobody changes it while there are any. */
struct nbd_client_settings {
	const char *name;	 /* of the export */
	const char *description; /* NULL: none */
	struct disk *disk;
	bool read_only;
	bool discard;			   /* accept NBD_CMD_TRIM, and free space */
	bool page_cache;		   /* has the image's data, or some of it */
	bool allocation_depth;		   /* offer qemu:allocation-depth */
	struct nbd_client_bitmap *bitmaps; /* offered as qemu:dirty-bitmap:NAME */
	unsigned nr_bitmaps;
	struct tls_keys *tls;	      /* TLS is required; NULL: it is refused */
	uint16_t depth;		      /* requests in flight for each connection */
	struct memory_budget *memory; /* beyond what each client has; at least NBD_MAX_PAYLOAD */
	uint64_t stall_ns;     /* after which one is dropped that others wait for; 0: default */
	uint64_t handshake_ns; /* time for the whole handshake; AIO_NEVER */
	const struct hold_policy *hold;
	const _Atomic gint64 *hold_limit_us;
	struct throttle_group *throttle;
	int event_fd; /* an eventfd to signal news for nbd_client_ended() and nbd_client_serve() */
};

/*
 * Serves the client at the other end of @fd, which belongs to the connection from now on, even on
 * failure. The caller keeps @settings, and frees the connection with nbd_client_free(). NULL with
 * @err set on failure. Any thread, as the other functions.
 */
struct nbd_client *nbd_client_new(const struct nbd_client_settings *settings, int fd, GError **err);

/* Whether the client is gone, and nbd_client_free() does not wait. */
bool nbd_client_ended(const struct nbd_client *client);

/* Whether its handshake has succeeded. */
bool nbd_client_was_served(const struct nbd_client *client);

/* Whether its thread has responded since the last call. One thread only. */
bool nbd_client_is_alive(struct nbd_client *client);

/* Its requests: for their statistics, and for what has happened to them. */
struct serve *nbd_client_serve(struct nbd_client *client);

/* Takes no more requests; those in flight are answered, and then the connection ends. */
void nbd_client_stop(struct nbd_client *client);
/* Drops the client at once; requests in flight still end. */
void nbd_client_drop(struct nbd_client *client);

/* Waits for the end of the connection, and frees it. NULL is fine. */
void nbd_client_free(struct nbd_client *client);

#endif
