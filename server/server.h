/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that is served: an image, and the device or export that shows it. In the order of its
 * life:
 *
 *   server_co_begin()      Its driver is known, and whether it continues a device.
 *   server_co_open()       Its image is open. On the way, once the file is open and before anything
 *                          of it is read, the process gives up what it does not need any more.
 *   server_co_fit()        Its target suits the image.
 *   server_co_start()      Its users find it.
 *   server_co_wait()       Waits until it must end.
 *   server_co_stop()       No more requests come.
 *   server_co_end_image()  Everything is in the image, which is closed.
 *   server_co_free()       The target is gone.
 *
 * What is one for the process (signals, sandbox, sockets,
 * the service manager) has its place in main.c. Main loop only.
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

/* What the disks of a process have in common. */
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
	int char_fd;		/* of what is taken over; -1: none */
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
 * Opens the image, or makes the overlay of it. @co_enter must call server_co_get_target(), and then
 * server_co_ask(). False with @err set.
 */
bool server_co_open(struct server *server, server_enter_fn *co_enter, void *arg, GError **err);

/*
 * Adds the target; an export to the listener @on, or, if that is NULL, it fails with @no_listener.
 * If it fails, server_co_fit() says so, once the image is known to be good.
 */
void server_co_get_target(struct server *server, struct export_listener *on,
			  const GError *no_listener);

/* What the target must do while the process has CAP_SYS_ADMIN. Fails as the last one does. */
void server_co_ask(struct server *server);

/* Checks whether the image can be served, and makes the target ready. False with @err set. */
bool server_co_fit(struct server *server, GError **err);

/* What a driver must be asked for, to add the device of a disk with these options. */
struct transport_info server_describe_device(const struct options *options);

/* Makes the target live. Call server_co_stop() after a failure, too. False with @err set. */
bool server_co_start(struct server *server, GError **err);

/* Waits for its end, and reports why. False: it has failed. */
bool server_co_wait(struct server *server);

/* False after reporting a failure. The image must be closed next. */
bool server_co_stop(struct server *server);

/* Flushes and closes the image of a target that has stopped. False after reporting a failure. */
bool server_co_end_image(struct server *server);

/* An image that was opened is closed. NULL is fine. */
void server_co_free(struct server *server);

#endif
