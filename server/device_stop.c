// SPDX-License-Identifier: GPL-2.0-or-later
/* Stopping a device. */
#include "device_parts.h"

#include <inttypes.h>
#include <unistd.h>

#include "queue.h"
#include "report.h"
#include "watch.h"

void device_close_char(struct device *device)
{
	if (device->char_fd >= 0)
		close(device->char_fd);
	device->char_fd = -1;
}

static void wait_for_queues(struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++) {
		struct queue_stats stats;
		struct queue_events events;
		struct data_stats data;

		if (!device->queues[i])
			continue;
		data = queue_wait(device->queues[i]);
		stats = queue_stats(device->queues[i]);
		events = queue_poll(device->queues[i]);
		watch_take(device->watch, &events);
		report_verbose("%s: queue %u: %" PRIu64 " requests, %" PRIu64 " failed, %" PRIu64
			       " bytes read, %" PRIu64 " bytes written; %" PRIu64
			       " requests by zero copy, %" PRIu64 " copied",
			       device->transport->path, i, stats.requests, stats.failed,
			       stats.read_bytes, stats.written_bytes, data.zero_copy, data.copied);
	}
}

/* Neither the end of the device nor that of the threads waits for requests that are held. */
static void release_held(struct device *device)
{
	bool leaves = device->left && device->info.recovery == RECOVERY_REISSUE;

	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i])
			queue_release_held(device->queues[i], leaves ? QUEUE_LEAVES : QUEUE_FAILS);
}

int device_stop(struct device *device)
{
	int res = 0;

	if (device->stopped)
		return 0;
	device->stopped = true;
	release_held(device);
	if (device->transport && !device->stays)
		res = device->transport->ops->stop(device->transport);
	if (res < 0 || (device->stays && !device->left))
		device_close_char(device);
	wait_for_queues(device);
	if (device->watch)
		watch_tell_rest(device->watch);
	/* The image is closed next. */
	watch_free(device->watch);
	device->watch = NULL;
	return res;
}

void device_note_loss(struct device *device)
{
	struct transport_info info;

	if (!device->stays ||
	    (device->transport->ops->get_info(device->transport, &info) == 0 && info.lost))
		return;
	report_error(
		"%s: ending the device, because another server would not know that data may be lost",
		device->transport->path);
	device->stays = false;
}
