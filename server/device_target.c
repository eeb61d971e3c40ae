// SPDX-License-Identifier: GPL-2.0-or-later
/* A device as a target; see target.h. */
#include "container_of.h"
#include "device_parts.h"

static struct device *device_of(const struct target *target)
{
	return (struct device *)container_of(target, struct device, target);
}

static int target_co_ask(struct target *target, GError **err)
{
	return device_co_ask(device_of(target), err);
}

static int target_co_fit(struct target *target, GError **err)
{
	return device_co_fit(device_of(target), err);
}

static int target_co_start(struct target *target, GError **err)
{
	return device_co_start(device_of(target), err);
}

static void target_end(struct target *target)
{
	device_end(device_of(target));
}

static bool target_leave(struct target *target, const struct transport_leave *how)
{
	return device_leave(device_of(target), how);
}

static void target_fail_held(struct target *target)
{
	device_release_held(device_of(target), SERVE_FAILS);
}

static enum target_end target_co_wait(struct target *target)
{
	return device_co_wait(device_of(target));
}

static int target_co_stop(struct target *target)
{
	return device_co_stop(device_of(target));
}

static void target_co_free(struct target *target)
{
	device_co_free(device_of(target));
}

static void target_note_loss(struct target *target)
{
	device_note_loss(device_of(target));
}

static int target_kept_fd(const struct target *target)
{
	const struct device *device = device_of(target);

	/* A service manager has room for one, so none of a server that can have several. */
	return device_recovers(device) && !device->config.threads ? device_control_fd(device) : -1;
}

static const char *target_path(const struct target *target)
{
	return device_path(device_of(target));
}

static uint64_t target_size(const struct target *target)
{
	return device_size(device_of(target));
}

static int target_co_grow(struct target *target)
{
	return device_co_grow(device_of(target));
}

static bool target_is_alive(struct target *target)
{
	return device_is_alive(device_of(target));
}

static unsigned target_nr_queues(const struct target *target)
{
	return device_nr_queues(device_of(target));
}

static void target_queue_stats(const struct target *target, unsigned q_id, struct serve_stats *sum)
{
	device_queue_stats(device_of(target), q_id, sum);
}

static struct failure target_last_failure(const struct target *target, gint64 *ret_time)
{
	return device_last_failure(device_of(target), ret_time);
}

static const struct target_ops ops = {
	.co_ask = target_co_ask,
	.co_fit = target_co_fit,
	.co_start = target_co_start,
	.end = target_end,
	.leave = target_leave,
	.fail_held = target_fail_held,
	.co_wait = target_co_wait,
	.co_stop = target_co_stop,
	.co_free = target_co_free,
	.note_loss = target_note_loss,
	.kept_fd = target_kept_fd,
	.name = target_path,
	.size = target_size,
	.co_grow = target_co_grow,
	.is_alive = target_is_alive,
	.nr_queues = target_nr_queues,
	.queue_stats = target_queue_stats,
	.last_failure = target_last_failure,
};

struct target *device_target(struct device *device)
{
	device->target.ops = &ops;
	return &device->target;
}
