// SPDX-License-Identifier: GPL-2.0-or-later
/* Tells the service manager that the server is alive; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>

#include "supervisor.h"

/* Often enough that a late message does no harm. */
#define PULSES_PER_INTERVAL 4

void watchdog_co(void *arg)
{
	struct watchdog *watchdog = arg;

	if (!watchdog->interval_us)
		return;
	do {
		watchdog->limit.end_ns =
			aio_ns_from_now(watchdog->interval_us * 1000 / PULSES_PER_INTERVAL);
		if (watchdog->are_alive(watchdog->arg))
			supervisor_co_alive();
	} while (co_wait_limit(&watchdog->limit) == -ETIME);
}
