// SPDX-License-Identifier: GPL-2.0-or-later
/* Watching a device that is served, and waiting for its end. */
#include "device_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue.h"
#include "report.h"
#include "watch.h"

/* How often to look whether there are still requests. */
#define IDLE_POLL_NS (20 * 1000 * 1000)

/* ---- news for the coroutine that starts, waits or stops ---- */

void device_news(struct device *device)
{
	co_wake_at(&device->waiter);
}

void device_co_wait_news(struct device *device)
{
	co_wait_at(&device->waiter);
}

static void leave_now(struct device *device)
{
	device->asked_to_leave = true;
	device_news(device);
}

void device_end(struct device *device)
{
	/* To stop would be to wait for what this server has let go of. */
	if (device->leaves_when_idle && device->info.recovery == RECOVERY_REISSUE) {
		leave_now(device);
		return;
	}
	device->asked_to_end = true;
	device_news(device);
}

static bool has_requests(const struct device *device)
{
	for (unsigned i = 0; i < device->info.queues; i++)
		if (queue_requests(device->queues[i]))
			return true;
	return false;
}

static void leave_when_idle_co(void *arg)
{
	struct device *device = arg;

	while (!device->stopped && has_requests(device))
		co_sleep_ns(IDLE_POLL_NS);
	leave_now(device);
}

static bool is_meant(const struct device *device, const struct transport_leave *how)
{
	return how->id == TRANSPORT_ANY_ID || how->id == device->transport->id;
}

bool device_leave(struct device *device, const struct transport_leave *how)
{
	if (!is_meant(device, how))
		return true;
	if (!device_recovers(device))
		return false;
	/* While it starts, nobody watches it, and it has not answered anything yet. */
	if (!how->when_idle || !device->watchers.running) {
		leave_now(device);
	} else if (!device->leaves_when_idle) {
		device->leaves_when_idle = true;
		device_release_held(device, device->info.recovery == RECOVERY_REISSUE
						    ? SERVE_LEAVES
						    : SERVE_FAILS);
		co_group_start(&device->watchers, leave_when_idle_co, device);
	}
	return true;
}

/* ---- watching ---- */

/* Of queues that are sockets. */
static void shutdown_queues(struct device *device, int how)
{
	for (unsigned i = 0; device->queue_fds && i < device->info.queues; i++)
		if (device->queue_fds[i] >= 0)
			shutdown(device->queue_fds[i], how);
}

/* Drivers without commands for that: another server asks us to leave. */
static void leave_co(void *arg)
{
	struct device *device = arg;

	if (co_poll(device->char_fd, POLLIN, &device->asking) < 0)
		return;
	device->leaving = true;
	/* Nothing more is received, but what has been received is answered. */
	shutdown_queues(device, SHUT_RD);
}

void device_close_char(struct device *device)
{
	/* Their threads still use the sockets, which device_co_free() closes. */
	shutdown_queues(device, SHUT_RDWR);
	if (device->char_fd >= 0 && !device->is_char_closed && !device_shares_commands(device) &&
	    dup3(device->no_fd, device->char_fd, O_CLOEXEC) < 0) {
		/* There are no queues yet. */
		close(device->char_fd);
		device->char_fd = -1;
	}
	device->is_char_closed = true;
	if (!device->transport || !transport_queues(device->transport->ops)->keeps_commands)
		return;
	for (unsigned i = 0; device->queues && i < device->info.queues; i++)
		if (device->queues[i])
			queue_abandon(device->queues[i]);
}

static void look_at_queues(struct device *device)
{
	bool was_broken = device->broken;

	for (unsigned i = 0; i < device->info.queues; i++) {
		struct queue_events events = queue_poll(device->queues[i]);

		watch_take(device->watch, &events.served);
		/*
		 * Then the kernel may close the connection itself, and it refuses the answers to
		 * requests that this server has let go of by closing its file.
		 */
		if (device->leaving || device->is_char_closed)
			events.broken = 0;
		if (events.broken && !was_broken)
			report_error("%s: %s queue %u: %s", device->transport->path,
				     device->queue_fds[i] >= 0 ? "lost the connection of"
							       : "the driver refused a command of",
				     i, g_strerror(-events.broken));
		device->broken |= events.broken != 0;
		device->ended |= events.ended;
	}
	/* Stopping the device, or starting it, would wait for the lost request for ever. */
	if (device->broken)
		device_close_char(device);
	if (device->broken || device->ended)
		device_news(device);
}

/* Checks what is due, and returns when the next check is. */
static uint64_t look_around(struct device *device)
{
	gint64 now = g_get_monotonic_time(), next = watch_look(device->watch, now);

	return next == G_MAXINT64 ? AIO_NEVER : aio_ns_from_now(MAX(0, next - now) * 1000);
}

static void watch_co(void *arg)
{
	struct device *device = arg;
	eventfd_t count;

	do {
		look_at_queues(device);
		device->watching.end_ns = look_around(device);
	} while (co_read_event(device->event_fd, &count, sizeof(count), &device->watching) !=
		 -ECANCELED);
}

bool device_is_alive(struct device *device)
{
	bool alive = true;

	for (unsigned i = 0; i < device->info.queues; i++)
		alive &= queue_is_alive(device->queues[i]);
	return alive;
}

static bool are_queues_alive(void *arg)
{
	return device_is_alive(arg);
}

void device_start_watching(struct device *device)
{
	device->watching = (struct aio_limit)AIO_LIMIT_INIT;
	device->watchdog = (struct watchdog){
		.interval_us = device->config.watchdog_us,
		.are_alive = are_queues_alive,
		.arg = device,
		.limit = AIO_LIMIT_INIT,
	};
	co_group_start(&device->watchers, watch_co, device);
	co_group_start(&device->watchers, watchdog_co, &device->watchdog);
	device->asking = (struct aio_limit)AIO_LIMIT_INIT;
	if (device->transport->ops->open_queue && device->info.recovery)
		co_group_start(&device->watchers, leave_co, device);
}

void device_co_stop_watching(struct device *device)
{
	if (!device->watchers.running)
		return;
	aio_limit_cancel(&device->watching);
	aio_limit_cancel(&device->asking);
	aio_limit_cancel(&device->watchdog.limit);
	co_group_wait(&device->watchers);
}

/* ---- the end ---- */

/*
 * Another server wants the device, which must stay. So it does if the driver does not answer: its
 * users would lose more than somebody who has stopped it, and can delete it.
 */
static bool must_leave(struct device *device)
{
	struct transport_info info;
	int res = device->transport->ops->get_info(device->transport, &info);

	if (res < 0)
		return device->ended && res != -ENODEV && device_recovers(device);
	if (info.state == TRANSPORT_QUIESCED)
		return true;
	/* They show it only when this server has gone, but a device that ends is not live. */
	return transport_queues(device->transport->ops)->keeps_commands && device->ended &&
	       info.state == TRANSPORT_LIVE && info.recovery;
}

/* Both may have been asked for. */
static bool leaves(const struct device *device)
{
	return device->asked_to_leave &&
	       !(device->asked_to_end && device->config.in_use == IN_USE_STOP);
}

enum target_end device_co_wait(struct device *device)
{
	bool has_ended = false;

	while (!device->broken && !device->ended && !leaves(device) && !has_ended) {
		if (device->asked_to_end)
			has_ended = device_co_end_if_unused(device);
		else
			device_co_wait_news(device);
	}
	if (has_ended)
		return TARGET_END_ASKED;
	if (device->broken) {
		device->stays = device->info.recovery != RECOVERY_NONE;
		return TARGET_END_BROKEN;
	}
	if (must_leave(device)) {
		device->stays = device->left = true;
		return TARGET_END_LEFT;
	}
	if (!device->ended) {
		device->stays = true;
		return TARGET_END_LEFT;
	}
	return TARGET_END_STOPPED;
}
