/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files export*.c share; private to them. */
#ifndef UBD_EXPORT_PARTS_H
#define UBD_EXPORT_PARTS_H

#include "aio.h"
#include "export.h"
#include "export_nbd.h"
#include "memory_budget.h"
#include "watchdog.h"

struct export_client {
	struct nbd_client *conn;
	struct export_client *next; /* while it is entering */
};

struct export_listener {
	struct export_options options;
	struct nbd_client_settings settings;
	struct nbd_exports exports;
	struct memory_budget memory;
	struct listener *listener; /* NULL: it has stopped listening */
	int event_fd;
	struct aio_limit listening, watching;
	struct co_group listeners, watchers;
	struct export_client *entering; /* have no export for good, or nobody has looked */
	unsigned nr_clients;		/* also of exports */
	unsigned max_clients;
	struct coroutine *accepter; /* while there are too many clients */
	struct coroutine *waiter;   /* export_listener_co_free(), for a client that has gone */
};

struct export
{
	struct target target;
	struct export_config config;
	struct nbd_export nbd;
	struct memory_budget places; /* of clients, not bytes */
	GPtrArray *clients;	     /* struct export_client whose handshake is over */
	char *uri;
	int event_fd;
	struct watch *watch; /* NULL: it was not started */
	struct watchdog watchdog;
	struct aio_limit watching, last_answers;
	struct co_group watchers;
	struct serve_stats departed; /* of all clients that have gone */
	struct coroutine *waiter;    /* co_wait() and co_stop(), for news */
	bool asked_to_end;
	bool had_clients; /* that came further than the handshake */
};

/* ---- export_listener.c ---- */

/* Takes what has happened to requests of its clients, and lets go of clients that have gone. */
void export_look(struct export *export);
/* Its clients (struct export_client); some may have gone. */
const GPtrArray *export_clients(const struct export *export);
/* Whether a client may still use the export, if only for its handshake. */
bool export_is_in_use(const struct export *export);
/* Calls fn() for the connections that may use it. */
void export_each_connection(const struct export *export, void (*fn)(struct nbd_client *conn));

/* ---- export_bitmaps.c ---- */

int export_co_load_bitmaps(struct export *export, GError **err);
void export_free_bitmaps(struct export *export);

#endif
