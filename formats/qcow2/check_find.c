// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: what its other files do with what they meet. A finding is reported and counted, a
 * reference is counted.
 */
#include "check.h"

#include <inttypes.h>
#include <stdarg.h>

void qcow2_check_say(struct check *c, const char *format, ...)
{
	g_autofree char *line = NULL;
	va_list args;

	if (c->walk == CHECK_PROVE)
		c->proof.failed = true;
	if (c->walk == CHECK_PROVE || !c->opts->report)
		return;
	va_start(args, format);
	line = g_strdup_vprintf(format, args);
	va_end(args);
	c->opts->report(c->opts->report_arg, line);
}

bool qcow2_check_corrupt(struct check *c, bool fixable, const char *format, ...)
{
	bool fix = fixable && c->opts->fix & IMAGE_CHECK_FIX_ERRORS;
	g_autofree char *line = NULL;
	va_list args;

	if (c->walk == CHECK_PROVE)
		c->proof.failed = true;
	if (c->walk == CHECK_PROVE || c->quiet)
		return false;
	va_start(args, format);
	line = g_strdup_vprintf(format, args);
	va_end(args);
	qcow2_check_say(c, "%s%s", fix ? "Repairing" : "ERROR", line);
	if (fix)
		c->result->corruptions_fixed++;
	else
		c->result->corruptions++;
	return fix;
}

bool qcow2_check_count_range(struct check *c, uint64_t host_off, uint64_t bytes)
{
	uint64_t first = qcow2_cluster_index(c->q, host_off);
	uint64_t last = qcow2_cluster_index(c->q, host_off + bytes - 1);

	if (!bytes)
		return true;
	if (host_off + bytes < host_off || last >= c->nr_clusters) {
		qcow2_check_corrupt(
			c, false,
			": counting reference for region exceeding the end of the file by one "
			"cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
			host_off, bytes);
		return false;
	}
	for (uint64_t i = first; i <= last; i++) {
		if (c->walk == CHECK_PROVE)
			qcow2_check_prove_reference(c, i);
		else
			qcow2_check_count(c, i);
	}
	c->used_end = MAX(c->used_end, last + 1);
	return true;
}
