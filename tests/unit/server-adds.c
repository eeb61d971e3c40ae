// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds an ubd-serve whose driver takes a new device only when a signal has come, to test that
 * signals delete such a device.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "aio.h"
#include "device.h"
#include "driver.h"
#include "error.h"

static bool asked;
static struct coroutine *waiter;

static int target_co_start(struct target *target, GError **err)
{
	if (!asked) {
		waiter = co_self();
		co_yield();
	}
	return error_refuse(err, -EINTR, "ended by a signal");
}

static void target_end(struct target *target)
{
	asked = true;
	if (waiter)
		co_wake(waiter);
	waiter = NULL;
}

static int target_co_fit(struct target *target, GError **err)
{
	co_yield();
	return 0;
}

static int target_co_stop(struct target *target)
{
	return 0;
}

static void target_co_free(struct target *target)
{
	fputs("deleted\n", stderr);
}

static void target_note_loss(struct target *target)
{
}

static int target_kept_fd(const struct target *target)
{
	return -1;
}

static const char *path_of(const struct target *target)
{
	return "/dev/ublkb0";
}

static const struct target_ops ops = {
	.co_fit = target_co_fit,
	.co_start = target_co_start,
	.end = target_end,
	.co_stop = target_co_stop,
	.co_free = target_co_free,
	.note_loss = target_note_loss,
	.kept_fd = target_kept_fd,
	.name = path_of,
};

/* ---- what the server finds ---- */

const struct transport_ops *__wrap_driver_choose(enum transport_driver wanted);
struct device *__wrap_device_co_add(const struct device_config *config, GError **err);
struct target *__wrap_device_target(struct device *device);

const struct transport_ops *__wrap_driver_choose(enum transport_driver wanted)
{
	return &transport_ubd;
}

static bool has_signal(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT) ||
	       sigismember(&pending, SIGHUP);
}

struct device *__wrap_device_co_add(const struct device_config *config, GError **err)
{
	static char device;

	fputs("adding\n", stderr);
	while (!has_signal())
		usleep(1000);
	return (struct device *)&device;
}

struct target *__wrap_device_target(struct device *device)
{
	static struct target target = { .ops = &ops };

	return &target;
}
