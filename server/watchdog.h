/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tells the service manager that the server is alive, as long as the loop of every queue and the
 * main loop respond. Main loop only.
 */
#ifndef UBD_WATCHDOG_H
#define UBD_WATCHDOG_H

#include <glib.h>

#include "aio.h"
#include "queue.h"

struct watchdog {
	guint64 interval_us; /* of supervisor_watchdog_us() */
	struct queue **queues;
	unsigned nr_queues;
	struct aio_limit limit; /* cancel it to end watchdog_co() */
};

/* @arg: a struct watchdog. */
void watchdog_co(void *arg);

#endif
