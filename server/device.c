// SPDX-License-Identifier: GPL-2.0-or-later
/* How a device is added or adopted, and how it is deleted; see device.h. */
#include "device_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "disk_mark.h"
#include "error.h"
#include "keeper.h"
#include "queue.h"
#include "queue_threads.h"
#include "report.h"
#include "runfile.h"
#include "transport_queues.h"

/* The default; more queues than that hardly help, but take memory. */
#define DEFAULT_MAX_QUEUES 4

static uint16_t default_queues(void)
{
	return CLAMP(g_get_num_processors(), 1, DEFAULT_MAX_QUEUES);
}

static int open_server_file(struct device *device, GError **err)
{
	if (device->char_fd < 0)
		device->char_fd = device->transport->ops->open_server_file(device->transport, err);
	return MIN(device->char_fd, 0);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* A file with which nothing can be done. */
static int open_no_fd(struct device *device, GError **err)
{
	device->no_fd = open("/", O_PATH | O_CLOEXEC);
	return device->no_fd < 0 ? error_set(err, -errno, "/") : 0;
}

static int take_place(struct device *device, GError **err)
{
	if (!device->config.threads)
		return 0;
	device->place = queue_threads_take_place(device->config.threads);
	return device->place < 0 ? error_set(err, device->place, "too many devices in a server")
				 : 0;
}

static int open_event_fd(struct device *device, GError **err)
{
	int error;

	device->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->event_fd >= 0)
		return 0;
	error = errno;
	return error_set(err, -error, "eventfd");
}

static bool has_buffers(const struct device *device)
{
	return !device->config.threads ||
	       queue_threads_have_buffers(device->config.threads, device->place,
					  device->info.depth);
}

/* Of a device that was taken over, or that is to be added with just this way. */
static int check_buffers(const struct device *device, enum data_way way, GError **err)
{
	if (way != DATA_ZERO_COPY || has_buffers(device))
		return 0;
	return error_refuse(err, -ENOSPC,
			    "the server's rings have no buffers left for zero copy with a depth of "
			    "%u; --depth sets how many each device gets",
			    device->info.depth);
}

/* Before the sandbox, or of threads that are there. */
static int make_loops(struct device *device, GError **err)
{
	const struct transport_info *info = &device->info;
	const struct transport_queues *driver = transport_queues(device->transport->ops);

	if (device->config.threads)
		return queue_threads_prepare(device->config.threads, info->queues, err);
	device->loops = g_new0(struct aio_loop *, info->queues);
	for (unsigned i = 0; i < info->queues; i++) {
		device->loops[i] = queue_new_loop(driver, info->depth, info->data, err);
		if (!device->loops[i])
			return -1;
	}
	return 0;
}

/* Of one that was made by others: threads that it shares may not be made for it. */
static int check_threads(struct device *device, GError **err)
{
	const struct transport_info *info = &device->info;

	if (!device->config.threads ||
	    (info->queues <= DEVICE_MAX_QUEUES &&
	     (info->data == DATA_COPY || info->max_io_bytes <= QUEUE_THREADS_MAX_COPY)))
		return check_buffers(device, info->data, err) ?: make_loops(device, err);
	return error_refuse(err, -EINVAL,
			    "%s: it has %u queues, with requests of up to %u bytes: in a server of "
			    "several devices each has at most %u queues, with up to %u bytes",
			    device->transport->path, info->queues, info->max_io_bytes,
			    DEVICE_MAX_QUEUES, QUEUE_THREADS_MAX_COPY);
}

/* A descriptor may lead to any device. It is left alone until nobody else can be its server. */
static int adopt_given(struct device *device, GError **err)
{
	const uint16_t depth = device->config.depth;

	device->stays = true;
	device->transport =
		device->config.driver->adopt(device->config.given_fd, &device->info, err);
	if (!device->transport)
		return -1;
	if (device->info.state != TRANSPORT_ADDED || device->info.recovery ||
	    device->info.depth != depth)
		return error_refuse(err, -EINVAL,
				    "%s: it was not added for this server: expected a new device "
				    "with a depth of %u and without recovery",
				    device->transport->path, depth);
	if (check_threads(device, err) < 0 || open_server_file(device, err) < 0)
		return -1;
	device->stays = false;
	return transport_set_identity(device->transport, &device->config.identity) < 0
		       ? error_refuse(err, -EBUSY, "%s: cannot name the device",
				      device->transport->path)
		       : 0;
}

struct adding {
	struct device *device;
	GError *err;
};

static int add_by_keeper(void *arg)
{
	struct adding *adding = arg;
	struct device *device = adding->device;

	device->transport = keeper_add(device->config.driver, device->config.given_fd,
				       &device->info, &adding->err);
	return device->transport ? 0 : -1;
}

/* It is new, so nobody else is its server. */
static int co_add_ordered(struct device *device, GError **err)
{
	const uint16_t depth = device->config.depth;
	struct adding adding = { .device = device };
	int res = co_run_on_thread("ubd-add", add_by_keeper, &adding);

	if (adding.err) {
		g_propagate_error(err, adding.err);
		return -1;
	}
	if (res < 0) {
		close(device->config.given_fd);
		return error_set(err, res, "cannot add a device");
	}
	if (device->info.depth != depth)
		return error_refuse(err, -EINVAL,
				    "%s: it was not added for this server: expected a depth of %u",
				    device->transport->path, depth);
	return check_threads(device, err);
}

static int co_adopt_given(struct device *device, GError **err)
{
	return device->config.driver->adopt ? adopt_given(device, err)
					    : co_add_ordered(device, err);
}

static int adopt_recovered(struct device *device, GError **err)
{
	int res;

	device->transport = device->config.recovered;
	device->stays = true;
	res = device->transport->ops->get_info(device->transport, &device->info);
	if (res < 0)
		return error_set(err, res, "the device");
	return check_threads(device, err);
}

/* Unprivileged users get neither batches nor other ways than copy. */
static int add_new(struct device *device, GError **err)
{
	enum data_way ways[DATA_WAYS] = { device->config.data };
	unsigned nr = 0;

	if (device->config.data == DATA_ANY) {
		if (has_buffers(device))
			ways[nr++] = DATA_ZERO_COPY;
		if (device->config.threads)
			ways[nr++] = DATA_USER_COPY;
		ways[nr] = DATA_COPY;
	}
	if (check_buffers(device, ways[0], err) < 0)
		return -1;
	device->transport = transport_add(device->config.driver, ways, &device->info,
					  &device->config.identity, err);
	return device->transport ? make_loops(device, err) : -1;
}

static int co_get_device(struct device *device, GError **err)
{
	if (device->config.recovered)
		return adopt_recovered(device, err);
	return device->config.given_fd >= 0 ? co_adopt_given(device, err) : add_new(device, err);
}

static int apply_params(struct device *device, struct device_params *params, GError **err)
{
	params->max_io_sectors = device->info.max_io_bytes / SECTOR_SIZE;
	device->block_size = params->logical_block_size;
	device->sectors = params->dev_sectors;
	return device->config.recovered ? device_check_params(device, params, err)
					: device_set_params(device, params, err);
}

int device_co_ask(struct device *device, GError **err)
{
	return transport_queues(device->transport->ops)->asks_with_privileges
		       ? device_co_start_queues(device, err)
		       : 0;
}

int device_co_fit(struct device *device, GError **err)
{
	struct device_params params;

	if (device_choose_params(&device->config, &params, err) < 0 ||
	    apply_params(device, &params, err) < 0)
		return -1;
	return open_server_file(device, err);
}

/*
 * Of a driver that shows serial numbers, udev sees them. Before the disk is there. One that others
 * have added has a mark by which udev looks at nothing (control/keeper_process.c), or needs none
 * (udev/59-ubd-unprivileged.rules). This process has no privileges any more, and could not write
 * it.
 */
static int write_mark(const struct device *device, GError **err)
{
	const struct device_config *config = &device->config;
	bool shows = config->driver->notions & TRANSPORT_NAMES;
	g_autoptr(GError) why = NULL;
	int res;

	if (config->recovered || config->given_fd >= 0)
		return 0;
	res = disk_mark_write(device->transport->path, shows ? NULL : config->identity.serial,
			      config->no_probe, &why);
	if (res < 0 && config->no_probe)
		return error_refuse(err, res, "--no-probe: cannot tell udev: %s", why->message);
	if (res < 0)
		report_verbose("%s: udev will not create a link: %s", device->transport->path,
			       why->message);
	return 0;
}

/* In the sandbox, the server may not be able to remove it. */
static int mark_disk(struct device *device, GError **err)
{
	g_autofree char *path = NULL;
	int res = write_mark(device, err);

	if (res < 0)
		return res;
	path = disk_mark_path(device->transport->path);
	device->mark = path ? runfile_take(path) : NULL;
	return 0;
}

/* From now on without privileges. */
static int start_keeper(struct device *device, GError **err)
{
	struct transport *kept = keeper_start(device->transport, err);

	if (!kept)
		return -1;
	device->transport = kept;
	return 0;
}

/*
 * A device that another image is to continue. Whoever opens its file becomes its last server, which
 * may have changed the device's own image; one that only finds that the other image does not fit
 * must not. Needs nothing that the sandbox has taken.
 */
static bool opens_late(const struct device *device)
{
	return device->config.recovered && device->char_fd < 0 &&
	       device->config.driver->driver == TRANSPORT_UBD;
}

struct transport_info device_describe(const struct device_config *config)
{
	return (struct transport_info){
		.id = config->id,
		.queues = config->queues ? config->queues : default_queues(),
		.depth = config->depth,
		.recovery = config->recovery,
		.recovery_timeout = config->recovery ? config->recovery_timeout : 0,
		.no_partition_scan = config->no_partition_scan,
	};
}

struct device *device_co_add(const struct device_config *config, GError **err)
{
	struct device *device = g_new0(struct device, 1);

	device->config = *config;
	device->char_fd = config->recovered ? config->char_fd : -1;
	device->event_fd = device->no_fd = device->place = -1;
	device->info = device_describe(config);
	if (take_place(device, err) < 0) {
		close_fd(config->given_fd);
		goto fail;
	}
	if (co_get_device(device, err) < 0 || open_no_fd(device, err) < 0 ||
	    (!opens_late(device) && open_server_file(device, err) < 0) ||
	    open_event_fd(device, err) < 0 || mark_disk(device, err) < 0 ||
	    start_keeper(device, err) < 0)
		goto fail;
	device->queues = g_new0(struct queue *, device->info.queues);
	device->queue_fds = g_new(int, device->info.queues);
	memset(device->queue_fds, -1, device->info.queues * sizeof(*device->queue_fds));
	return device;
fail:
	device_co_free(device);
	return NULL;
}

/* After its end. Before the number is another disk's, udev must not find the mark. */
static void let_go(struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		g_clear_pointer(&device->queues[i], queue_free);
	if (device->place >= 0)
		queue_threads_put_place(device->config.threads, device->place);
	device_close_char(device);
	for (unsigned i = 0; device->queue_fds && i < device->info.queues; i++)
		close_fd(device->queue_fds[i]);
	close_fd(device->char_fd);
	close_fd(device->no_fd);
	close_fd(device->event_fd);
	if (device->stays)
		runfile_leave(device->mark);
	else if (device->transport)
		runfile_remove(device->mark);
}

static void free_rest(struct device *device)
{
	transport_free(device->transport);
	for (unsigned i = 0; device->loops && i < device->info.queues; i++)
		aio_loop_free(device->loops[i]);
	g_free(device->loops);
	g_free(device->queues);
	g_free(device->queue_fds);
	g_free(device);
}

/* With the threads that its queues are bound to. */
static void free_bound(void *arg)
{
	struct device *device = arg;

	let_go(device);
	if (device->transport && !device->stays)
		device->transport->ops->delete (device->transport);
	free_rest(device);
}

static bool has_bound_queue(const struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i] && queue_is_bound(device->queues[i]))
			return true;
	return false;
}

void device_co_free(struct device *device)
{
	if (!device)
		return;
	device_co_stop(device);
	if (has_bound_queue(device)) {
		queue_threads_outlive(device->config.threads, free_bound, device);
		return;
	}
	let_go(device);
	if (device->transport && !device->stays)
		device_co_delete(device);
	free_rest(device);
}
