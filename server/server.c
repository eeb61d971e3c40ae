// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk that is served, from start to end; see server.h. Whatever fails, the way back is the same:
 * no more requests, the image closed, the target deleted.
 */
#include "server.h"

#include <unistd.h>

#include "aio.h"
#include "device.h"
#include "error.h"
#include "export.h"
#include "identity.h"
#include "open_image.h"
#include "others.h"
#include "overlay.h"
#include "report.h"
#include "sandbox.h"
#include "supervisor.h"
#include "transport_queues.h"

/* ---- the image ---- */

static bool co_close_image(const struct server *server, struct image *image)
{
	int res = image_co_close(image);

	if (res < 0)
		report_error("%s: closing the image: %s", server->options->filename,
			     g_strerror(-res));
	return res == 0;
}

/* The last chance to tell the next server, or to do without one. */
static void co_look_for_loss(struct image *image, struct target *target)
{
	/* What it returns, image_co_close() returns as well. */
	image_co_flush(image);
	if (image_troubles(image) & IMAGE_TROUBLE_LOST)
		target->ops->note_loss(target);
}

/* @image may be an overlay of it. */
static struct image_origin find_origin(const struct options *options, const struct image *image)
{
	const struct image *named = options->temporary ? image_backing(image) : image;

	return (struct image_origin){
		.name = image_filename(named),
		.path = options->stable_name,
		.format = image_format(named),
		.id = image_file_id(named),
		.temporary = options->temporary,
		.keep_as =
			options->keep_as ? g_canonicalize_filename(options->keep_as, NULL) : NULL,
	};
}

static int enter_co(void *arg, struct image *file, int char_fd, GError **err)
{
	struct server *server = arg;

	server->file_id = image_file_id(file);
	server->char_fd = char_fd;
	if (server->options->added_id.known &&
	    !file_id_equal(&server->options->added_id, &server->file_id))
		return error_refuse(err, -EPERM, "%s: it was replaced while it was being added",
				    server->options->filename);
	return server->co_enter(server->enter_arg, server, file, err);
}

/* The image, or the overlay of it. NULL with @err set. */
static struct image *co_open(struct server *server, GError **err)
{
	const struct options *options = server->options;
	struct image *image = open_image_co(options, &server->takeover, server->common->images,
					    enter_co, server, err),
		     *top;

	if (image && open_image_check_format(options, image, err) < 0) {
		co_close_image(server, image);
		return NULL;
	}
	if (!image || !options->temporary)
		return image;
	server->overlay = overlay_co_new(options, image, &top, err);
	return server->overlay ? top : NULL;
}

bool server_co_open(struct server *server, server_enter_fn *co_enter, void *arg, GError **err)
{
	struct image *image;

	server->co_enter = co_enter;
	server->enter_arg = arg;
	image = co_open(server, err);
	if (image)
		disk_set_image(server->disk, image);
	return image;
}

/* ---- the target ---- */

/* Lookups by serial number may find either one. */
static void tell_of_twin(const struct server *server)
{
	const char *serial = server->options->identity.serial;
	const struct transport_ops *driver = server->driver;
	g_autoptr(GArray) twins = NULL;
	const struct other *twin;

	if (!serial[0])
		return;
	twins = others_find(driver, "serial", serial);
	if (!twins->len)
		return;
	/* A privileged one if there is any: udev makes no links for the others' serial numbers. */
	twin = &g_array_index(twins, struct other, 0);
	report_note("/dev/%s%u%s also has the serial number %s: lookups by it may find either one",
		    driver->disk_name, twin->id,
		    twin->unprivileged ? ", an unprivileged device," : "", serial);
}

/* Only now: an image for which the device cannot be used is not recorded, whatever --force says. */
static void keep_image(const struct server *server)
{
	int res = takeover_keep_image(&server->takeover, disk_image(server->disk));

	if (res < 0)
		report_note("%s: the next server will not recognise it: %s",
			    server->options->filename, g_strerror(-res));
}

struct transport_info server_describe_device(const struct options *options)
{
	const struct device_config config = {
		.id = options->id,
		.queues = options->queues,
		.depth = options->depth,
		.no_partition_scan = options->no_partition_scan,
	};

	return device_describe(&config);
}

/* NULL: the device has its own. */
static struct queue_threads *choose_threads(const struct server *server)
{
	const struct transport_queues *queues = transport_queues(server->driver);
	bool outlives = server->options->recovery || server->takeover.transport;

	return queues->keeps_commands && outlives ? NULL : server->common->threads;
}

static struct target *co_add_device(struct server *server, GError **err)
{
	const struct options *options = server->options;
	const struct takeover *takeover = &server->takeover;
	struct device *device;
	struct device_config config = {
		.driver = server->driver,
		.disk = server->disk,
		.threads = choose_threads(server),
		.discard = takeover->discard,
		.id = options->id,
		.queues = options->queues,
		.depth = options->depth,
		.block_size = takeover->block_size,
		.recovery = options->recovery,
		.recovery_timeout = options->recovery_timeout,
		.request_timeout = options->request_timeout,
		.no_partition_scan = options->no_partition_scan,
		.no_probe = options->no_probe,
		.identity = options->identity,
		.data = options->data,
		.hold = options->hold,
		.throttle = options->throttle,
		.in_use = options->in_use,
		.watchdog_us = options->several ? 0 : supervisor_watchdog_us(),
		.recovered = takeover->transport,
		.char_fd = server->char_fd,
	};

	config.given_fd = server->given_fd;
	server->given_fd = -1;
	config.identity.image_dev = server->file_id.dev;
	config.identity.image_ino = server->file_id.ino;
	device = device_co_add(&config, err);
	return device ? device_target(device) : NULL;
}

static struct target *co_add_export(const struct server *server, struct export_listener *on,
				    GError **err)
{
	const struct options *options = server->options;
	const struct export_config config = {
		.on = on,
		.disk = server->disk,
		.options = &options->export,
		.discard = options->discard,
		.hold = options->hold,
		.throttle = options->throttle,
		.watchdog_us = options->several ? 0 : supervisor_watchdog_us(),
	};

	return export_co_add(&config, err);
}

void server_co_get_target(struct server *server, struct export_listener *on,
			  const GError *no_listener)
{
	server->has_entered = true;
	if (server->options->exports && !on) {
		server->no_target = g_error_copy(no_listener);
	} else if (server->options->exports) {
		server->target = co_add_export(server, on, &server->no_target);
	} else {
		if (!server->takeover.transport)
			tell_of_twin(server);
		server->target = co_add_device(server, &server->no_target);
	}
}

void server_co_ask(struct server *server)
{
	struct target *target = server->target;

	if (!target || !target->ops->co_ask || target->ops->co_ask(target, &server->no_target) == 0)
		return;
	server->target = NULL;
	target->ops->co_free(target);
}

/* A bad image is reported before a driver that is not there. */
static int check_image(const struct server *server, GError **err)
{
	const struct device_config config = {
		.disk = server->disk,
		.discard = server->takeover.discard,
		.block_size = server->takeover.block_size,
	};

	return server->options->exports ? 0 : device_check_image(&config, err);
}

bool server_co_fit(struct server *server, GError **err)
{
	int res;

	server->origin = find_origin(server->options, disk_image(server->disk));
	if (!server->target) {
		if (check_image(server, err) == 0)
			g_propagate_error(err, g_steal_pointer(&server->no_target));
		return false;
	}
	res = server->target->ops->co_fit(server->target, err);
	/* Others cannot note it. */
	if (res == 0 && server->takeover.transport && server->driver->set_identity)
		keep_image(server);
	return res == 0;
}

/* ---- while the disk is served ---- */

bool server_co_start(struct server *server, GError **err)
{
	struct target *target = server->target;

	server->is_live = overlay_can_be_kept(server->overlay, err) &&
			  target->ops->co_start(target, err) >= 0;
	return server->is_live;
}

bool server_co_wait(struct server *server)
{
	struct target *target = server->target;

	server->was_live = true;
	switch (target->ops->co_wait(target)) {
	case TARGET_END_ASKED:
		report_verbose("%s: stopping", target_name(target));
		return true;
	case TARGET_END_STOPPED:
		report_note("%s: another process has stopped the device", target_name(target));
		return true;
	case TARGET_END_LEFT:
		report_note("%s: left to the next server", target_name(target));
		server->left = true;
		return true;
	case TARGET_END_UNUSED:
		report_verbose("%s: the last client has gone", target_name(target));
		return true;
	case TARGET_END_BROKEN:
		break;
	}
	return false;
}

bool server_co_stop(struct server *server)
{
	struct target *target = server->target;
	int res = target->ops->co_stop(target);

	server->is_live = false;

	if (res < 0)
		report_error("%s: cannot stop: %s", target_name(target), g_strerror(-res));
	return res == 0;
}

bool server_co_end_image(struct server *server)
{
	struct image *image = disk_image(server->disk);
	bool is_whole;

	if (server->was_live)
		overlay_complete(server->overlay, image);
	co_look_for_loss(image, server->target);
	is_whole = co_close_image(server, disk_take_image(server->disk));
	return overlay_co_keep(server->overlay, is_whole) && is_whole;
}

/* ---- begin and end ---- */

struct server *server_new(const struct options *options, const struct server_common *common)
{
	struct server *server = g_new0(struct server, 1);

	server->options = options;
	server->common = common;
	server->disk = disk_new(NULL);
	server->char_fd = server->given_fd = -1;
	return server;
}

int server_co_begin(struct server *server, int kept_fd, GError **err)
{
	const struct options *options = server->options;

	server->driver = server->common->driver;
	if (server->driver && options_suit(options, server->driver, err) < 0)
		return -1;
	return takeover_co_begin(options, server->driver, kept_fd, &server->takeover, err);
}

void server_co_free(struct server *server)
{
	struct image *image;

	if (!server)
		return;
	/* The target has not come as far as server_co_start(), but has the disk, and uses it. */
	image = disk_take_image(server->disk);
	if (image)
		co_close_image(server, image);
	if (server->target)
		server->target->ops->co_free(server->target);
	if (!server->has_entered && server->char_fd >= 0)
		close(server->char_fd);
	if (server->given_fd >= 0)
		close(server->given_fd);
	if (!server->has_entered)
		transport_free(server->takeover.transport);
	g_clear_error(&server->no_target);
	overlay_free(server->overlay);
	disk_free(server->disk);
	g_free(server->origin.keep_as);
	g_free(server);
}
