// SPDX-License-Identifier: GPL-2.0-or-later
/* Adding a device at the driver, or adopting one, and its end; see device.h. */
#include "device_parts.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "queue.h"

/*
 * The largest request. Where the driver copies, every tag has a buffer of this size that stays
 * in memory, so that no request ever waits for memory that only the device itself could free
 * (by writing). Larger requests would make little faster and cost that much more.
 */
#define MAX_COPY_BYTES	   (128u << 10)
/* Otherwise requests take no memory, or share it. */
#define MAX_IO_BYTES	   (1u << 20)

/* By default; more queues than that hardly help, but take memory. */
#define DEFAULT_MAX_QUEUES 4

static uint16_t default_queues(void)
{
	return CLAMP(g_get_num_processors(), 1, DEFAULT_MAX_QUEUES);
}

/* By the control fd: the node /dev/ubdcN may be out of reach, as it is in a container. */
static int open_char_file(struct device *device, GError **err)
{
	if (device->char_fd < 0)
		device->char_fd = control_open_char(device->control);
	if (device->char_fd >= 0)
		return 0;
	return error_set(err, device->char_fd, "/dev/ubdc%u", device->info.dev_id);
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

static int adopt_recovered(struct device *device, GError **err)
{
	int res;

	device->control = device->config.recovered;
	device->stays = true;
	res = control_get_info(device->control, &device->info);
	if (res < 0)
		error_set(err, res, "the device");
	return res;
}

static const uint64_t data_flags[] = {
	[DEVICE_DATA_COPY] = 0,
	[DEVICE_DATA_USER_COPY] = UBD_F_USER_COPY,
	[DEVICE_DATA_ZERO_COPY] = UBD_F_USER_COPY | UBD_F_ZERO_COPY,
};

static bool add_with(struct device *device, enum device_data way, uint64_t more_flags, GError **err)
{
	device->info.flags = device->config.recovery | data_flags[way] | more_flags;
	if (device->config.no_partition_scan)
		device->info.flags |= UBD_F_NO_AUTO_PART_SCAN;
	if (device->config.recovery)
		device->info.recovery_timeout = device->config.recovery_timeout;
	device->info.max_io_bytes = data_flags[way] ? MAX_IO_BYTES : MAX_COPY_BYTES;
	device->control = control_add_dev(&device->info, err);
	return device->control;
}

static int add_new(struct device *device, GError **err)
{
	enum device_data way = device->config.data;
	uint64_t offered, batches;

	if (control_get_features(&offered, err) < 0)
		return -1;
	batches = offered & UBD_F_BATCH;
	/*
	 * Users without privileges may have neither batches nor the other ways of data; if it is
	 * something else, the last try tells.
	 */
	if (way == DEVICE_DATA_ANY) {
		if (offered & UBD_F_ZERO_COPY &&
		    add_with(device, DEVICE_DATA_ZERO_COPY, batches, NULL))
			return 0;
		way = DEVICE_DATA_COPY;
	}
	if (data_flags[way] & ~offered) {
		g_set_error(
			err, UBD_ERROR, ENOTSUP,
			"the driver does not support %s copy on this kernel; use another --data",
			way == DEVICE_DATA_ZERO_COPY ? "zero" : "user");
		return -1;
	}
	if (batches && add_with(device, way, batches, NULL))
		return 0;
	return add_with(device, way, 0, err) ? 0 : -1;
}

/* The image's parameters first: a bad image is told before the driver is asked. */
static int get_device(struct device *device, GError **err)
{
	bool recovered = device->config.recovered;
	struct ubd_params params;

	if (recovered && adopt_recovered(device, err) < 0)
		return -1;
	if (device_choose_params(device, &params, err) < 0)
		return -1;
	if (!recovered && add_new(device, err) < 0)
		return -1;
	device->path = g_strdup_printf("/dev/ubdb%u", device->info.dev_id);
	params.max_io_sectors = device->info.max_io_bytes / SECTOR_SIZE;
	device->block_size = params.logical_block_size;
	device->sectors = params.dev_sectors;
	return recovered ? device_check_params(device, &params, err)
			 : device_set_params(device, &params, err);
}

struct device *device_add(const struct device_config *config, GError **err)
{
	struct device *device = g_new0(struct device, 1);

	device->config = *config;
	device->char_fd = config->recovered ? config->char_fd : -1;
	device->event_fd = -1;
	device->info = (struct ubdsrv_ctrl_dev_info){
		.nr_hw_queues = config->queues ? config->queues : default_queues(),
		.queue_depth = config->depth,
		.dev_id = config->id,
	};
	if (get_device(device, err) < 0 || open_char_file(device, err) < 0 ||
	    open_event_fd(device, err) < 0)
		goto fail;
	device->queues = g_new0(struct queue *, device->info.nr_hw_queues);
	return device;
fail:
	device_free(device);
	return NULL;
}

void device_free(struct device *device)
{
	if (!device)
		return;
	device_stop(device);
	for (unsigned i = 0; device->queues && i < device->info.nr_hw_queues; i++)
		queue_free(device->queues[i]);
	device_close_char(device);
	if (device->event_fd >= 0)
		close(device->event_fd);
	if (device->control && !device->stays)
		control_del_dev(device->control);
	control_free(device->control);
	g_free(device->queues);
	g_free(device->path);
	g_free(device);
}
