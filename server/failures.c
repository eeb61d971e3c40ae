// SPDX-License-Identifier: GPL-2.0-or-later
/* Reports of failed requests; see failures.h. */
#include "failures.h"

#include <inttypes.h>

#define SECTOR_SHIFT 9

struct failure failure_of(const struct ubdsrv_io_desc *desc, int error)
{
	return (struct failure){
		.count = 1,
		.op = MIN(ubd_desc_op(desc), FAILURES_OPS - 1),
		.guest_off = desc->start_sector << SECTOR_SHIFT,
		.bytes = (uint64_t)desc->nr_sectors << SECTOR_SHIFT,
		.error = error,
	};
}

const char *failure_operation(const struct failure *failure)
{
	static const char *const names[FAILURES_OPS] = {
		[UBD_IO_OP_READ] = "read",
		[UBD_IO_OP_WRITE] = "write",
		[UBD_IO_OP_FLUSH] = "flush",
		[UBD_IO_OP_DISCARD] = "discard",
		[UBD_IO_OP_WRITE_ZEROES] = "write of zeroes",
	};

	return names[failure->op] ?: "operation";
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

static void tell(const struct failure *failure, const char *name, void (*say)(const char *line))
{
	g_autofree char *what = failure_describe(failure), *more = NULL, *line = NULL;

	if (failure->count > 1)
		more = g_strdup_printf(" (and %" PRIu64 " more)", failure->count - 1);
	line = g_strdup_printf("%s: %s%s", name, what, more ?: "");
	say(line);
}

gint64 failures_tell(struct failures *failures, const char *name, gint64 now,
		     void (*say)(const char *line))
{
	gint64 next = G_MAXINT64;

	for (uint8_t op = 0; op < FAILURES_OPS; op++) {
		struct failure *untold = &failures->untold[op];

		if (!untold->count)
			continue;
		if (now < failures->quiet_until[op]) {
			next = MIN(next, failures->quiet_until[op]);
			continue;
		}
		tell(untold, name, say);
		untold->count = 0;
		if (now < G_MAXINT64)
			failures->quiet_until[op] = now + FAILURES_QUIET_SECONDS * G_USEC_PER_SEC;
	}
	return next;
}
