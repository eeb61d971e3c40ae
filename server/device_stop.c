// SPDX-License-Identifier: GPL-2.0-or-later
/* Stopping a device. */
#include "device_parts.h"

#include <inttypes.h>

#include "queue.h"
#include "report.h"
#include "watch.h"

/* On a thread: the requests of a slow image may take long to end. */
static int wait_for_queues(void *arg)
{
	const struct device *device = arg;

	for (unsigned i = 0; i < device->info.queues; i++)
		if (device->queues[i])
			queue_wait(device->queues[i]);
	return 0;
}

static void report_queues(struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++) {
		struct serve_stats stats = { 0 };
		struct queue_events events;

		if (!device->queues[i])
			continue;
		queue_wait(device->queues[i]);
		queue_add_stats(device->queues[i], &stats);
		events = queue_poll(device->queues[i]);
		watch_take(device->watch, &events.served);
		report_verbose("%s: queue %u: %" PRIu64 " requests, %" PRIu64 " failed, %" PRIu64
			       " bytes read, %" PRIu64 " bytes written; %" PRIu64
			       " requests by zero copy, %" PRIu64 " copied",
			       device->transport->path, i, serve_stats_requests(&stats),
			       serve_stats_failed(&stats), stats.ops[REQUEST_READ].bytes,
			       stats.ops[REQUEST_WRITE].bytes, stats.zero_copy, stats.copied);
	}
}

/* Threads that wait for the driver. */
static bool has_queues(const struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i])
			return true;
	return false;
}

int device_co_stop(struct device *device)
{
	/* It may have been asked to end, too, and then the driver waits for all requests. */
	bool leaves = device->stays && (device->left || device->asked_to_leave) &&
		      device->info.recovery == RECOVERY_REISSUE;
	int res = 0;

	if (device->stopped)
		return 0;
	device->stopped = true;
	/* Neither the device nor the threads may wait for held requests in order to end. */
	device_release_held(device, leaves ? SERVE_LEAVES : SERVE_FAILS);
	if (device->broken && device_shares_commands(device))
		/* It would wait for the lost request. */
		res = -EIO;
	else if (device->transport && !device->stays && !device->disk_gone)
		res = device_co_stop_disk(device);
	/*
	 * Queues have the driver's descriptors mapped, so the file lasts until they are freed,
	 * after the image was closed. Without queues it must not end before, either: what changes
	 * the image after the device has lost its server is another program (takeover.c).
	 */
	if ((res < 0 || (device->stays && !device->left)) && has_queues(device)) {
		if (!leaves)
			device_co_wait_for_held(device);
		device_close_char(device);
	}
	/* Without a thread, report_queues() waits. */
	if (device->queues)
		co_run_on_thread("ubd-stop", wait_for_queues, device);
	device_co_stop_watching(device);
	report_queues(device);
	if (device->watch)
		watch_tell_rest(device->watch);
	/* The image is closed next. */
	watch_co_free(device->watch);
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
