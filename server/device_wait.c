// SPDX-License-Identifier: GPL-2.0-or-later
/* Waiting for the end of a device that is served, and looking around meanwhile. */
#include "device_parts.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "queue.h"
#include "report.h"
#include "watch.h"

bool device_look_at_queues(struct device *device, enum device_end *ret_end)
{
	bool ended = false, broken = false;

	for (unsigned i = 0; i < device->info.queues; i++) {
		struct queue_events events = queue_poll(device->queues[i]);

		watch_take(device->watch, &events);
		if (events.broken)
			report_error("%s: the driver refused a command of queue %u: %s",
				     device->transport->path, i, g_strerror(-events.broken));
		broken |= events.broken != 0;
		ended |= events.ended;
	}
	if (!broken && !ended)
		return false;
	*ret_end = broken ? DEVICE_END_BROKEN : DEVICE_END_STOPPED;
	return true;
}

/* Somebody wants another server for the device, which is to stay. */
static bool is_to_leave(struct device *device)
{
	struct transport_info info;

	return device->transport->ops->get_info(device->transport, &info) == 0 &&
	       info.state == TRANSPORT_QUIESCED;
}

int device_look_around(struct device *device)
{
	gint64 now = g_get_monotonic_time(), next = watch_look(device->watch, now);

	return next == G_MAXINT64 ? -1 : MAX(0, next - now) / 1000 + 1;
}

enum device_end device_wait(struct device *device, int signal_fd, int command_fd)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = device->event_fd, .events = POLLIN },
		{ .fd = command_fd, .events = POLLIN },
	};
	enum device_end end;
	eventfd_t count;

	for (;;) {
		if (poll(fds, G_N_ELEMENTS(fds), device_look_around(device)) < 0)
			continue; /* EINTR: stopped and continued */
		if (fds[1].revents) {
			eventfd_read(device->event_fd, &count);
			if (device_look_at_queues(device, &end))
				break;
		}
		if (fds[0].revents) {
			end = DEVICE_END_SIGNAL;
			break;
		}
		if (fds[2].revents)
			return DEVICE_COMMAND;
	}
	if (end == DEVICE_END_BROKEN) {
		/* Stopping would wait for the lost request for ever. */
		device_close_char(device);
		device->stays = device->info.recovery != RECOVERY_NONE;
	} else if (is_to_leave(device)) {
		device->stays = device->left = true;
		end = DEVICE_END_LEFT;
	}
	return end;
}
