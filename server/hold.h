/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides which failed requests are held and retried, and for how long. A single write that fails
 * for lack of space shuts down a file system, although an administrator could still free space.
 */
#ifndef UBD_HOLD_H
#define UBD_HOLD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "request_desc.h"

struct hold_policy {
	bool on_enospc;	    /* writes that fail for lack of space or quota */
	bool on_error;	    /* all requests whose storage fails */
	unsigned timeout_s; /* 0: as long as the driver allows */
};

/*
 * Whether to retry a request of operation @op that failed with @error (errno).
 * @troubles: enum image_trouble; some of them do not go away with time.
 */
bool hold_wants(const struct hold_policy *policy, enum request_op op, int error, unsigned troubles);

/* How long a request may be kept, in microseconds; G_MAXINT64: no limit. Any thread may read them.
 */
struct request_limits {
	_Atomic gint64 held_us; /* from its first try */
	_Atomic gint64 all_us;	/* from its arrival, whatever it waits for */
};

/*
 * The time limit of a request if the driver declares a server dead after this many seconds without
 * an answer; 0: never.
 */
gint64 hold_driver_limit_us(unsigned driver_s);
/* How long the policy holds a request. */
gint64 hold_limit_us(const struct hold_policy *policy);

/* The pause before the next try, after @tries tries. */
uint64_t hold_pause_ns(unsigned tries);

#endif
