/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A served disk: an image, and the device or export through which it is served. Its life cycle is:
 *
 *   server_co_begin()      Chooses the driver, and decides whether to continue an existing device.
 *   server_co_open()       Opens the image. Once the file is open, and before any of it is read,
 * the process gives up privileges that it no longer needs. server_co_fit()        Adapts the target
 * to the image. server_co_start()      Makes the target available to users. server_co_wait() Waits
 * until the disk must end. server_co_stop()       No more requests arrive. server_co_end_image()
 * Writes everything to the image, and closes it. server_co_free()       Removes the target.
 *
 * Process-wide state (signals, sandbox, sockets, the service manager) belongs in main.c. Main loop
 * only.
 */
#ifndef UBD_SERVER_H
#define UBD_SERVER_H

#include <glib.h>
#include <stdbool.h>

#include "commands.h"
#include "disk.h"
#include "image.h"
#include "options.h"
#include "takeover.h"
#include "target.h"
#include "transport.h"

struct export_listener;
struct overlay;
struct queue_threads;
struct server;

/*
 * Called once the image's file is open and locked, and before anything of it is read: @file is the
 * bottom node. < 0 with @err set: the image is not opened.
 */
typedef int server_enter_fn(void *arg, struct server *server, struct image *file, GError **err);

/* State shared by all disks of a process. */
struct server_common {
	const struct transport_ops *driver; /* of devices; NULL: they are exports */
	struct image_shared *images;	    /* backing files */
	struct queue_threads *threads;	    /* of devices that share them; NULL: none does */
};

struct server {
	const struct options *options;
	const struct transport_ops *driver; /* NULL: it is an export */
	struct takeover takeover;
	const struct server_common *common;
	struct disk *disk;
	struct image_origin origin;
	struct overlay *overlay; /* NULL: without --temporary */
	struct target *target;
	GError *no_target;	/* why there is none; reported once the image is known to be good */
	struct file_id file_id; /* of the image's file */
	int char_fd;		/* of the device taken over; -1: none */
	int given_fd;		/* as in struct device_config; -1: none */
	bool has_entered;	/* the target owns it, and the transport */
	bool is_live, was_live;
	bool left; /* to the next server */
	server_enter_fn *co_enter;
	void *enter_arg;
};

/* The caller keeps both, and frees the server with server_co_free(). */
struct server *server_new(const struct options *options, const struct server_common *common);

/*
 * @kept_fd: what the service manager kept for its device, or -1. < 0 with @err set.
 */
int server_co_begin(struct server *server, int kept_fd, GError **err);

/*
 * Opens the image, or creates its overlay. @co_enter must call server_co_get_target(), and then
 * server_co_ask(). False with @err set.
 */
bool server_co_open(struct server *server, server_enter_fn *co_enter, void *arg, GError **err);

/*
 * Adds the target; an export is added to the listener @on or, if that is NULL, fails with
 * @no_listener. server_co_fit() reports a failure, once the image is known to be good.
 */
void server_co_get_target(struct server *server, struct export_listener *on,
			  const GError *no_listener);

/*
 * The target's part of the start that requires CAP_SYS_ADMIN. Failures are reported like those of
 * the previous function.
 */
void server_co_ask(struct server *server);

/* Checks whether the image can be served, and prepares the target. False with @err set. */
bool server_co_fit(struct server *server, GError **err);

/* The properties to request from a driver for the device of a disk with these options. */
struct transport_info server_describe_device(const struct options *options);

/* Makes the target live. Call server_co_stop() after a failure, too. False with @err set. */
bool server_co_start(struct server *server, GError **err);

/* Waits for the end of the disk, and reports the reason. False: the disk has failed. */
bool server_co_wait(struct server *server);

/* False after reporting a failure. The image must be closed next. */
bool server_co_stop(struct server *server);

/* Flushes and closes the image of a target that has stopped. False after reporting a failure. */
bool server_co_end_image(struct server *server);

/* Also closes the image if it is still open. NULL is fine. */
void server_co_free(struct server *server);

#endif
