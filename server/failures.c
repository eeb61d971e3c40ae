// SPDX-License-Identifier: GPL-2.0-or-later
/* Reports of failed requests; see failures.h. */
#include "failures.h"

#include <inttypes.h>

struct failure failure_of(const struct request_desc *desc, int error)
{
	return (struct failure){
		.count = 1,
		.op = desc->op,
		.guest_off = desc->guest_off,
		.bytes = desc->bytes,
		.error = error,
	};
}

const char *failure_operation(const struct failure *failure)
{
	static const char *const names[REQUEST_OPS] = {
		[REQUEST_READ] = "read",
		[REQUEST_WRITE] = "write",
		[REQUEST_FLUSH] = "flush",
		[REQUEST_DISCARD] = "discard",
		[REQUEST_WRITE_ZEROES] = "write of zeroes",
		[REQUEST_UNKNOWN] = "operation",
	};

	return names[failure->op];
}

char *failure_describe(const struct failure *failure)
{
	g_autofree char *where = NULL;

	if (failure->bytes)
		where = g_strdup_printf(" of %" PRIu64 " bytes at offset %" PRIu64, failure->bytes,
					failure->guest_off);
	return g_strdup_printf("%s%s failed: %s", failure_operation(failure), where ?: "",
			       g_strerror(failure->error));
}

void failures_add(struct failures *failures, const struct failure *failure)
{
	struct failure *untold = &failures->untold[failure->op];

	if (untold->count)
		untold->count += failure->count;
	else
		*untold = *failure;
}

static char *line_of(const struct failure *failure, const char *name)
{
	g_autofree char *what = failure_describe(failure), *more = NULL;

	if (failure->count > 1)
		more = g_strdup_printf(" (and %" PRIu64 " more)", failure->count - 1);
	return g_strdup_printf("%s: %s%s", name, what, more ?: "");
}

gint64 failures_tell(struct failures *failures, const char *name, gint64 now,
		     void (*say)(void *arg, const char *line), void *arg)
{
	gint64 next = G_MAXINT64;

	for (unsigned op = 0; op < REQUEST_OPS; op++) {
		struct failure *untold = &failures->untold[op];
		g_autofree char *line = NULL;

		if (!untold->count)
			continue;
		if (now < failures->quiet_until[op]) {
			next = MIN(next, failures->quiet_until[op]);
			continue;
		}
		line = line_of(untold, name);
		say(arg, line);
		untold->count = 0;
		if (now < G_MAXINT64)
			failures->quiet_until[op] = now + FAILURES_QUIET_SECONDS * G_USEC_PER_SEC;
	}
	return next;
}
