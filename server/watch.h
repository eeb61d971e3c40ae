/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watches a served disk, and reports requests that fail or are held, files of the
 * image that another program truncates or deletes, and low space. Main loop only.
 */
#ifndef UBD_WATCH_H
#define UBD_WATCH_H

#include <glib.h>
#include <stdatomic.h>

#include "failures.h"
#include "hold.h"
#include "serve.h"
#include "transport.h"

struct disk;

struct watch_config {
	struct disk *disk;
	const char *device;	     /* the name for users */
	struct transport *transport; /* NULL: there is no device */
	int event_fd;
	bool unprivileged; /* any user may have added the device */
	struct hold_policy hold;
	/* How many requests are held now, and what to do with them. */
	uint64_t (*count_held)(void *arg);
	void (*release_held)(void *arg, enum serve_release release);
	/* How many wait for their turn; release_held() also ends that wait. NULL: there is no
	 * device. */
	uint64_t (*count_late)(void *arg);
	void *arg; /* of all three */
};

struct watch;

/* The caller keeps everything in @config until watch_co_free(). */
struct watch *watch_new(const struct watch_config *config);
/*
 * Begins to check the image's files, on a thread that keeps the current privileges of this one.
 * 0, or < 0 with @err set.
 */
int watch_inspect(struct watch *watch, GError **err);
/* Waits for the end of a check of the image's files, which may hang. NULL is fine. */
void watch_co_free(struct watch *watch);

/* For struct serve_config. */
const struct request_limits *watch_limits(const struct watch *watch);

/* Records what has happened to requests. */
void watch_take(struct watch *watch, const struct serve_events *events);

/*
 * Checks everything that is due at @now. Returns the latest time for the next call; G_MAXINT64:
 * after the next event.
 */
gint64 watch_look(struct watch *watch, gint64 now);

/* Reports the failures that were held back. */
void watch_tell_rest(struct watch *watch);

/* The last request that has failed (count 0: none), and when, in seconds since 1970. */
struct failure watch_last_failure(const struct watch *watch, gint64 *ret_time);

#endif
