/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disks that the process serves. Each has a coroutine for its whole life (server.h), so what
 * happens to one does not concern the others. The first ones start together, because the process
 * gives up its privileges once: none of them goes past a step before all have come that far, or
 * have failed. A disk that is added later finds all steps taken. Main loop only.
 */
#ifndef UBD_SERVERS_H
#define UBD_SERVERS_H

#include <glib.h>
#include <stdbool.h>

#include "commands.h"
#include "server.h"

enum servers_step {
	SERVERS_ENTER, /* the images' files are open, and nothing of them was read */
	SERVERS_OPEN,  /* the images are */
	SERVERS_READY, /* their targets suit them */
	SERVERS_LIVE,
	SERVERS_STEPS
};

struct servers_config {
	/* What the process does when the first disks have come so far. < 0 with @err set. */
	int (*co_step)(void *arg, enum servers_step step, GError **err);
	/* The last disk (NULL: there is none) is about to end, and with it the process. Once. */
	void (*co_ending)(void *arg, const struct server *last);
	void *arg;
	const struct transport_ops *driver; /* NULL: the disks are exports */
	bool stays;			    /* also without a disk, until servers_end() */
	/* Devices share queue_threads, with queues of this depth; 0: each has its own. */
	unsigned shared_depth;
};

/* Private to servers.c, except where it says so. */
struct servers {
	struct servers_config config;
	/* Of exports, set by SERVERS_ENTER; or why there is none. */
	struct export_listener *listener;
	GError *no_listener;
	struct server_common common;
	bool is_dying;		/* set by a signal, readable: nothing happens any more */
	GPtrArray *served;	/* struct served */
	GPtrArray *commanded;	/* struct command_target of those that are live; readable */
	unsigned lasting;	/* those that have not begun to end */
	unsigned starting, met; /* the first disks on their way; those that wait for a step */
	enum servers_step next;
	int refused; /* what co_step() has returned; then nothing is served */
	GError *why;
	bool is_ending, has_told_end;
	bool is_incomplete; /* one of the first disks could not be started; may be set before */
	bool was_live;	    /* a disk was */
	bool has_failed;    /* one that was live has not ended well */
	struct coroutine *waiter; /* servers_co_run() */
	struct co_group group;
};

void servers_init(struct servers *all, const struct servers_config *config);
void servers_destroy(struct servers *all);

/*
 * Serves these disks (const struct options) and those that are added, until all have ended.
 * @kept_fd as for server_co_begin(), for the first one. False: one that was live has failed, or
 * none could be started, unless it stays without. Those that are still being opened at the end are
 * not waited for: then is_dying is set, and the process must exit without servers_destroy().
 */
bool servers_co_run(struct servers *all, const GPtrArray *disks, int kept_fd);

/*
 * Another disk; returns its name, which the caller frees, when it is live. Takes @options, and @fd,
 * as in struct device_config; -1 for an export. NULL with @err set.
 */
char *servers_co_add(struct servers *all, struct options *options, int fd, GError **err);

/* Ends a disk, and waits until it is gone. */
void servers_co_remove(struct servers *all, const struct command_target *target);

/* @file: of the image, during SERVERS_ENTER; NULL: it has none. */
void servers_each(const struct servers *all,
		  void (*fn)(void *arg, struct server *server, struct image *file), void *arg);

/* @arg: a struct servers. For a watchdog of the process. */
bool servers_are_alive(void *arg);

/* All end, and then the process. It does not wait; a second time does nothing. */
void servers_end(struct servers *all);

#endif
