// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A device that must end while it may be in use. Its users are not deprived of it: it stays until
 * nobody has it open, or is left to the next server. udev opens a disk briefly, so it counts as in
 * use only after a while.
 */
#include "device_parts.h"

#include <errno.h>

#include "disk_users.h"
#include "report.h"

/* How often to try. */
#define PAUSE_NS	   UINT64_C(100000000)
#define NS_PER_S	   UINT64_C(1000000000)

/* How long a disk may be open in passing. */
#define PASSING_NS	   NS_PER_S

/* How often to report who uses it. */
#define REPORT_INTERVAL_NS (60 * NS_PER_S)

struct users {
	const char *path;
	char *text;
};

static int find_users(void *arg)
{
	struct users *users = arg;

	users->text = disk_users(users->path);
	return 0;
}

/* What the users are, if this process can see them from its sandbox. The caller frees the text. */
static char *co_users(struct device *device)
{
	struct users users = { .path = device->transport->path };

	co_run_on_thread("ubd-users", find_users, &users);
	return users.text ?: g_strdup("'ubdctl stop' names its users");
}

static void co_report(struct device *device, const char *what)
{
	g_autofree char *users = co_users(device);

	report_note("%s is in use (%s); %s", device->transport->path, users, what);
}

static void co_wait_for_users(struct device *device)
{
	if (aio_now_ns() >= device->report_users_ns) {
		co_report(device,
			  "stopping once it is not; 'ubdctl stop --force' stops it immediately");
		device->report_users_ns = aio_ns_from_now(REPORT_INTERVAL_NS);
	}
	co_sleep_ns(PAUSE_NS);
}

static void co_leave_to_next(struct device *device)
{
	co_report(device, "leaving it to the next server");
	device->asked_to_leave = true;
}

/* Or, for a lack of descriptors or memory, it could not be asked whether it is. */
static bool is_in_use(const struct device *device, int res)
{
	if (res == -EBUSY || res == -EAGAIN || res == -EMFILE || res == -ENFILE || res == -ENOMEM)
		return true;
	/* Leaving is safe if that cannot be known; otherwise it must end some time. */
	return res == -EOPNOTSUPP && device->config.in_use == IN_USE_LEAVE;
}

bool device_co_end_if_unused(struct device *device)
{
	int res;

	if (device->config.in_use == IN_USE_STOP)
		return true;
	res = device_co_call(device, "ubd-stop", transport_stop_if_unused);
	/* What fails for another reason is done, and reported, by device_co_stop(). */
	if (!is_in_use(device, res)) {
		device->disk_gone = res == 0;
		return true;
	}
	if (!device->passing_until_ns)
		device->passing_until_ns = aio_ns_from_now(PASSING_NS);
	if (aio_now_ns() < device->passing_until_ns)
		co_sleep_ns(PAUSE_NS);
	else if (device->config.in_use == IN_USE_LEAVE)
		co_leave_to_next(device);
	else
		co_wait_for_users(device);
	return false;
}
