// SPDX-License-Identifier: GPL-2.0-or-later
/* Tells the service manager that the server is alive; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <stdbool.h>

#include "supervisor.h"

/* Often enough that a late message does no harm. */
#define PULSES_PER_INTERVAL 4

static bool are_all_alive(const struct watchdog *watchdog)
{
	bool alive = true;

	for (unsigned i = 0; i < watchdog->nr_queues; i++)
		alive &= queue_is_alive(watchdog->queues[i]);
	return alive;
}

void watchdog_co(void *arg)
{
	struct watchdog *watchdog = arg;

	if (!watchdog->interval_us)
		return;
	do {
		watchdog->limit.end_ns =
			aio_ns_from_now(watchdog->interval_us * 1000 / PULSES_PER_INTERVAL);
		if (are_all_alive(watchdog))
			supervisor_co_alive();
	} while (co_wait_limit(&watchdog->limit) == -ETIME);
}
