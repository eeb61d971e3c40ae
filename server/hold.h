/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which failed requests are held and retried, and for how long. To a file system one write that
 * finds no space is the end of its disk, while an administrator could still make room.
 */
#ifndef UBD_HOLD_H
#define UBD_HOLD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct hold_policy {
	bool on_enospc;	    /* writes for which there is no space, or no quota */
	bool on_error;	    /* all requests whose storage fails */
	unsigned timeout_s; /* 0: as long as the driver lets us */
};

/*
 * Whether to retry a request of operation UBD_IO_OP_* @op that failed with @error (errno).
 * @troubles: enum image_trouble; time does not mend some of them.
 */
bool hold_wants(const struct hold_policy *policy, uint8_t op, int error, unsigned troubles);

/*
 * For how long to hold a request. @driver_s: the driver declares a server dead that takes this many
 * seconds for a request, 0: never. Microseconds; G_MAXINT64: no limit.
 */
gint64 hold_limit_us(const struct hold_policy *policy, unsigned driver_s);

/* The pause before the next try, of which there were @tries. */
uint64_t hold_pause_ns(unsigned tries);

#endif
