/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disks that the process serves. Each has a coroutine for its whole life (server.h), so they do
 * not affect each other. The initial disks start together, because the process gives up its
 * privileges once: none passes a step before all others have reached it or failed. For a disk that
 * is added later, all steps have been taken. Main loop only.
 */
#ifndef UBD_SERVERS_H
#define UBD_SERVERS_H

#include <glib.h>
#include <stdbool.h>

#include "commands.h"
#include "server.h"

enum servers_step {
	SERVERS_ENTER, /* the images' files are open, but nothing was read from them */
	SERVERS_OPEN,  /* the images are open */
	SERVERS_READY, /* their targets match them */
	SERVERS_LIVE,
	SERVERS_STEPS
};

struct servers_config {
	/* The process's part of a step, when the initial disks have reached it. < 0 with @err set.
	 */
	int (*co_step)(void *arg, enum servers_step step, GError **err);
	/* The last disk (NULL: there is none), and with it the process, is about to end. Once. */
	void (*co_ending)(void *arg, const struct server *last);
	void *arg;
	const struct transport_ops *driver; /* NULL: the disks are exports */
	bool stays;			    /* even without disks, until servers_end() */
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
	bool is_dying;		/* set by a signal, readable: nothing may start any more */
	GPtrArray *served;	/* struct served */
	GPtrArray *commanded;	/* struct command_target of those that are live; readable */
	unsigned lasting;	/* disks that have not begun to end */
	unsigned starting, met; /* initial disks that are starting; those that wait for a step */
	enum servers_step next;
	int refused; /* error of co_step(): nothing is served */
	GError *why;
	bool is_ending, has_told_end;
	bool is_incomplete;	  /* an initial disk could not be started; may be set before */
	bool was_live;		  /* a disk was live */
	bool has_failed;	  /* a live disk ended with an error */
	struct coroutine *waiter; /* servers_co_run() */
	struct co_group group;
};

void servers_init(struct servers *all, const struct servers_config *config);
void servers_destroy(struct servers *all);

/*
 * Serves these disks (const struct options) and those that are added, until all have ended.
 * @kept_fd as for server_co_begin(), for the first disk. False: a live disk has failed, or
 * none could be started (unless config.stays). Does not wait for disks that are still being opened
 * at the end: is_dying is then set, and the process must exit without servers_destroy().
 */
bool servers_co_run(struct servers *all, const GPtrArray *disks, int kept_fd);

/*
 * Adds a disk, and when it is live returns its name, which the caller frees. Takes ownership of
 * @options and @fd, as in struct device_config; -1 for an export. NULL with @err set.
 */
char *servers_co_add(struct servers *all, struct options *options, int fd, GError **err);

/* Ends a disk, and waits until it is gone. */
void servers_co_remove(struct servers *all, const struct command_target *target);

/* @file: of the image, during SERVERS_ENTER; NULL: it has none. */
void servers_each(const struct servers *all,
		  void (*fn)(void *arg, struct server *server, struct image *file), void *arg);

/* @arg: a struct servers. For a watchdog of the process. */
bool servers_are_alive(void *arg);

/* Ends all disks, and then the process. Does not wait; further calls do nothing. */
void servers_end(struct servers *all);

#endif
