// SPDX-License-Identifier: GPL-2.0-or-later
/* What others ask about a device. */
#include "device_parts.h"

#include "queue.h"
#include "watch.h"

int device_control_fd(const struct device *device)
{
	return transport_fd(device->transport);
}

bool device_recovers(const struct device *device)
{
	return device->info.recovery;
}

const char *device_path(const struct device *device)
{
	return device->transport->path;
}

uint64_t device_size(const struct device *device)
{
	return device->sectors * SECTOR_SIZE;
}

unsigned device_nr_queues(const struct device *device)
{
	return device->info.queues;
}

void device_queue_stats(const struct device *device, unsigned q_id, struct serve_stats *sum)
{
	queue_add_stats(device->queues[q_id], sum);
}

struct failure device_last_failure(const struct device *device, gint64 *ret_time)
{
	return watch_last_failure(device->watch, ret_time);
}
