// SPDX-License-Identifier: GPL-2.0-or-later
/* Starting a device: its queues, and then the disk. */
#include "device_parts.h"

#include <errno.h>

#include "error.h"
#include "queue.h"
#include "queue_threads.h"
#include "report.h"
#include "watch.h"

/* How long to wait before the driver is asked for a queue's file again. */
#define OPEN_PAUSE_NS (5 * 1000 * 1000)

/* The file on which the queue's requests come. */
static int co_open_queue_file(struct device *device, uint16_t q_id, GError **err)
{
	const struct transport_ops *ops = device->transport->ops;
	int fd;

	if (!ops->open_queue)
		return device->char_fd;
	while ((fd = ops->open_queue(device->transport, q_id, err)) == -EAGAIN) {
		if (device->asked_to_end)
			return error_refuse(err, -EINTR, "%s: cannot start: ended by a signal",
					    device->transport->path);
		co_sleep_ns(OPEN_PAUSE_NS);
	}
	device->queue_fds[q_id] = MAX(fd, -1);
	return fd;
}

static struct queue *co_start_queue(struct device *device, uint16_t q_id, GError **err)
{
	cpu_set_t cpus;
	struct queue_config config = {
		.char_fd = co_open_queue_file(device, q_id, err),
		.event_fd = device->event_fd,
		.q_id = q_id,
		.depth = device->info.depth,
		.max_io_bytes = device->info.max_io_bytes,
		.driver = transport_queues(device->transport->ops),
		.data = device->info.data,
		.batches = device->info.batches,
		.disk = device->config.disk,
		.outlived = device->info.recovery != RECOVERY_NONE,
		.hold = &device->config.hold,
		.limits = watch_limits(device->watch),
		.throttle = device->config.throttle,
	};
	int res;

	if (config.char_fd < 0)
		return NULL;
	res = transport_get_queue_cpus(device->transport, q_id, &cpus);
	if (res == 0)
		config.cpus = &cpus;
	else if (res != -EOPNOTSUPP)
		report_verbose("queue %u: cannot get its CPUs: %s", q_id, g_strerror(-res));
	if (!device->config.threads) {
		config.loop = g_steal_pointer(&device->loops[q_id]);
		return queue_new(&config, err);
	}
	config.buffer_group = device->place;
	config.first_buffer = queue_threads_first_buffer(device->config.threads, device->place);
	config.thread = queue_threads_get(device->config.threads, q_id, config.cpus, err);
	return config.thread ? queue_new(&config, err) : NULL;
}

struct wait_ready {
	const struct device *device;
	GError *err;
};

static int wait_until_ready(void *arg)
{
	struct wait_ready *wait = arg;
	int res = 0;

	for (unsigned i = 0; i < wait->device->info.queues && !res; i++)
		res = queue_wait_ready(wait->device->queues[i], &wait->err);
	return res;
}

static int co_start_queues(struct device *device, GError **err)
{
	struct wait_ready wait = { .device = device };
	int res;

	for (unsigned i = 0; i < device->info.queues; i++) {
		device->queues[i] = co_start_queue(device, i, err);
		if (!device->queues[i])
			return -1;
	}
	res = co_run_on_thread("ubd-ready", wait_until_ready, &wait);
	if (wait.err)
		g_propagate_error(err, wait.err);
	else if (res < 0)
		error_set(err, res, "cannot wait for the queues");
	return res;
}

static uint64_t count_held(void *arg)
{
	const struct device *device = arg;
	uint64_t held = 0;

	for (unsigned i = 0; i < device->info.queues; i++)
		if (device->queues[i])
			held += queue_held(device->queues[i]);
	return held;
}

static uint64_t count_late(void *arg)
{
	const struct device *device = arg;
	uint64_t late = 0;

	for (unsigned i = 0; i < device->info.queues; i++)
		if (device->queues[i])
			late += queue_late(device->queues[i]);
	return late;
}

static void release_held(void *arg, enum serve_release release)
{
	device_release_held(arg, release);
}

static void make_watch(struct device *device)
{
	const struct watch_config config = {
		.disk = device->config.disk,
		.device = device->transport->path,
		.transport = device->transport,
		.event_fd = device->event_fd,
		.unprivileged = device->info.unprivileged,
		.hold = device->config.hold,
		.count_held = count_held,
		.count_late = count_late,
		.release_held = release_held,
		.arg = device,
	};

	device->watch = watch_new(&config);
}

/* ---- the disk ---- */

/* START_DEV waits for reads of the image, and those may take long. */
struct start {
	struct device *device;
	int res;
	bool done; /* and res counts */
};

static void start_co(void *arg)
{
	struct start *start = arg;
	struct device *device = start->device;

	start->res = device_co_call(device, "ubd-start", device->transport->ops->start);
	start->done = true;
	device_news(device);
}

/* If it must end, or a request is lost (device_wait.c), the driver ends START_DEV. */
static int co_start_new(struct device *device, GError **err)
{
	struct start start = { .device = device };
	struct co_group group = { 0 };
	bool asked;

	co_group_start(&group, start_co, &start);
	while (!start.done && !device->asked_to_end)
		device_co_wait_news(device);
	asked = !start.done;
	if (asked) {
		/* Some drivers stop nothing while they start it. */
		device_release_held(device, SERVE_FAILS);
		device_co_stop_disk(device);
	}
	co_group_wait(&group);
	if (asked)
		return error_refuse(err, -EINTR, "%s: cannot start: ended by a signal",
				    device->transport->path);
	return start.res < 0
		       ? error_set(err, start.res, "%s: cannot start", device->transport->path)
		       : 0;
}

static int co_start_recovered(struct device *device, GError **err)
{
	int res = device_co_call(device, "ubd-recovery", transport_end_recovery);

	device->stays = res < 0;
	return res < 0 ? error_set(err, res, "%s: cannot start", device->transport->path) : 0;
}

int device_co_start_queues(struct device *device, GError **err)
{
	make_watch(device);
	return co_start_queues(device, err);
}

int device_co_start(struct device *device, GError **err)
{
	int res = device->watch ? 0 : device_co_start_queues(device, err);

	res = res ?: watch_inspect(device->watch, err);
	if (res < 0)
		return res;
	device_start_watching(device);
	if (device->info.lost)
		report_error("%s: an earlier server has lost data: flushes fail",
			     device->transport->path);
	report_verbose("%s: requests come %s", device->transport->path,
		       device->info.batches ? "in batches" : "one by one");
	if (device->config.recovered)
		return co_start_recovered(device, err);
	return co_start_new(device, err);
}
