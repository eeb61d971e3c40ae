/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the service manager that the server is alive, as long as the main loop and the loops of
 * all queues respond. Main loop only.
 */
#ifndef UBD_WATCHDOG_H
#define UBD_WATCHDOG_H

#include <glib.h>
#include <stdbool.h>

#include "aio.h"

struct watchdog {
	guint64 interval_us; /* of supervisor_watchdog_us() */
	bool (*are_alive)(
		void *arg); /* whether the other loops have responded since the last call */
	void *arg;
	struct aio_limit limit; /* cancel it to end watchdog_co() */
};

/* @arg: a struct watchdog. */
void watchdog_co(void *arg);

#endif
