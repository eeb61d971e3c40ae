/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reports of failed requests: the first one at once, then at most one line per
 * FAILURES_QUIET_SECONDS and operation, with a count. Times are those of g_get_monotonic_time().
 */
#ifndef UBD_FAILURES_H
#define UBD_FAILURES_H

#include <glib.h>
#include <stdint.h>

#include "request_desc.h"

#define FAILURES_QUIET_SECONDS 10

/* Failed requests of one operation, and the first of them. */
struct failure {
	uint64_t count; /* 0: there are none, and all else is undefined */
	enum request_op op;
	uint64_t guest_off;
	uint64_t bytes; /* 0: a flush */
	int error;	/* errno */
};

struct failure failure_of(const struct request_desc *desc, int error);

struct failures {
	struct failure untold[REQUEST_OPS];
	gint64 quiet_until[REQUEST_OPS];
};

/* "write", ...; "operation" if the server does not know it. */
const char *failure_operation(const struct failure *failure);
/* Describes the first one, as part of a sentence; the caller frees the text. */
char *failure_describe(const struct failure *failure);

void failures_add(struct failures *failures, const struct failure *failure);

/*
 * Calls say(arg, line) for the lines that are due at @now (G_MAXINT64: all), beginning with @name.
 * Returns the time at which the next line is due; G_MAXINT64: none is left.
 */
gint64 failures_tell(struct failures *failures, const char *name, gint64 now,
		     void (*say)(void *arg, const char *line), void *arg);

#endif
