// SPDX-License-Identifier: GPL-2.0-or-later
/* What becomes of the requests that a device's queues hold. */
#include "device_parts.h"

#include "disk.h"
#include "queue.h"

/* How often to look whether requests are still held. */
#define HELD_POLL_NS (20 * 1000 * 1000)

void device_release_held(struct device *device, enum serve_release release)
{
	if (device->queues)
		disk_set_patience(device->config.disk, 0);
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i])
			queue_release_held(device->queues[i], release);
}

static bool holds_requests(const struct device *device)
{
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i] && queue_held(device->queues[i]))
			return true;
	return false;
}

/* Their tries end soon, and then they are answered like others, not lost with the queues. */
void device_co_wait_for_held(struct device *device)
{
	while (holds_requests(device))
		co_sleep_ns(HELD_POLL_NS);
}
