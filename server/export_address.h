/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an export listens, as --export names it:
 *
 *   nbd:unix:PATH	a UNIX socket, which only this user may connect to
 *   nbd:HOST:PORT	TCP; without HOST on all addresses, with port 0 on any free one
 *   nbd:fd:N		the listening socket that this process has inherited as descriptor N
 */
#ifndef UBD_EXPORT_ADDRESS_H
#define UBD_EXPORT_ADDRESS_H

#include <glib.h>
#include <stdbool.h>

struct export_address {
	char *path; /* of a UNIX socket, absolute; or NULL */
	char *host; /* for TCP, with @port; empty: all addresses */
	char *port;
	int fd; /* if path and port are NULL */
};

/* False with @err set; the caller frees *ret_address with export_address_clear(). */
bool export_address_parse(const char *text, struct export_address *ret_address, GError **err);
void export_address_clear(struct export_address *address);

struct listener;

/* Listens. Blocks, as names may have to be looked up. NULL with @err set. */
struct listener *listener_new(const struct export_address *address, GError **err);
int listener_fd(const struct listener *listener);
/* Stops listening, and removes a UNIX socket. NULL is fine. */
void listener_free(struct listener *listener);

/*
 * The URI by which a client on this machine or, with TCP, another one finds the export. The caller
 * frees it.
 */
char *listener_uri(const struct listener *listener, const char *export_name, bool is_tls);

#endif
