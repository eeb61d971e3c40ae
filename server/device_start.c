// SPDX-License-Identifier: GPL-2.0-or-later
/* Starting a device: its queues, and then the disk. */
#include "device_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "error.h"
#include "queue.h"
#include "report.h"
#include "watch.h"

static struct queue *start_queue(struct device *device, uint16_t q_id, GError **err)
{
	cpu_set_t cpus;
	struct queue_config config = {
		.char_fd = device->char_fd,
		.event_fd = device->event_fd,
		.q_id = q_id,
		.depth = device->info.depth,
		.max_io_bytes = device->info.max_io_bytes,
		.driver = device->transport->ops,
		.data = device->info.data,
		.batches = device->info.batches,
		.image = device->config.image,
		.outlived = device->info.recovery != RECOVERY_NONE,
		.hold = &device->config.hold,
		.hold_limit_us = watch_hold_limit_us(device->watch),
	};
	int res = device->transport->ops->get_queue_cpus(device->transport, q_id, &cpus);

	if (res == 0)
		config.cpus = &cpus;
	else
		report_verbose("queue %u: cannot get its CPUs: %s", q_id, g_strerror(-res));
	return queue_new(&config, err);
}

static int start_queues(struct device *device, GError **err)
{
	for (unsigned i = 0; i < device->info.queues; i++) {
		device->queues[i] = start_queue(device, i, err);
		if (!device->queues[i])
			return -1;
	}
	for (unsigned i = 0; i < device->info.queues; i++) {
		int res = queue_wait_ready(device->queues[i], err);

		if (res < 0)
			return res;
	}
	return 0;
}

static int start_watch(struct device *device, GError **err)
{
	const struct watch_config config = {
		.image = device->config.image,
		.transport = device->transport,
		.event_fd = device->event_fd,
		.unprivileged = device->info.unprivileged,
		.queues = device->queues,
		.nr_queues = device->info.queues,
		.hold = device->config.hold,
		.watchdog_us = device->config.watchdog_us,
	};

	device->watch = watch_new(&config, err);
	return device->watch ? 0 : -1;
}

/* START_DEV on a thread: it waits for reads of the image, and those may take long. */
struct start {
	struct transport *transport; /* nobody else's */
	int event_fd;
	int res;
	_Atomic bool done; /* and then res counts */
};

static void *start_thread(void *arg)
{
	struct start *start = arg;

	start->res = start->transport->ops->start(start->transport);
	atomic_store(&start->done, true);
	eventfd_write(start->event_fd, 1);
	return NULL;
}

/* Whether a signal came first. Then, and if a request is lost, the driver ends the wait. */
static bool watch_start(struct device *device, struct start *start, int signal_fd)
{
	struct pollfd fds[] = {
		{ .fd = device->event_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};
	enum device_end end;
	eventfd_t count;

	while (!atomic_load(&start->done)) {
		if (poll(fds, G_N_ELEMENTS(fds), device_look_around(device)) < 0)
			continue; /* EINTR: stopped and continued */
		if (fds[1].revents) {
			device->transport->ops->stop(device->transport);
			return true;
		}
		if (fds[0].revents) {
			eventfd_read(device->event_fd, &count);
			if (device_look_at_queues(device, &end) && end == DEVICE_END_BROKEN)
				device_close_char(device);
		}
	}
	return false;
}

static int start_new(struct device *device, int signal_fd, GError **err)
{
	struct start start = { .event_fd = device->event_fd };
	GThread *thread = NULL;
	bool ends;

	start.transport = device->transport->ops->clone(device->transport, err);
	if (start.transport)
		thread = g_thread_try_new("ubd-start", start_thread, &start, err);
	if (!thread) {
		transport_free(start.transport);
		return -EAGAIN;
	}
	ends = watch_start(device, &start, signal_fd);
	g_thread_join(thread);
	transport_free(start.transport);
	if (!ends && !start.res)
		return 0;
	g_set_error(err, UBD_ERROR, ends ? EINTR : -start.res, "%s: cannot start: %s",
		    device->transport->path, ends ? "ended by a signal" : g_strerror(-start.res));
	return ends ? -EINTR : start.res;
}

static int start_recovered(struct device *device, GError **err)
{
	int res = device->transport->ops->end_recovery(device->transport);

	device->stays = res < 0;
	if (res < 0)
		error_set(err, res, "%s: cannot start", device->transport->path);
	return res;
}

int device_start(struct device *device, int signal_fd, GError **err)
{
	int res = start_watch(device, err) ?: start_queues(device, err);

	if (res < 0)
		return res;
	if (device->info.lost)
		report_error("%s: an earlier server has lost data: flushes fail",
			     device->transport->path);
	report_verbose("%s: requests come %s", device->transport->path,
		       device->info.batches ? "in batches" : "one by one");
	if (device->config.recovered)
		return start_recovered(device, err);
	return start_new(device, signal_fd, err);
}
