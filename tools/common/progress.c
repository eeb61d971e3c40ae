// SPDX-License-Identifier: GPL-2.0-or-later
/* The line of a long job that says how far it is; see progress.h. */
#include "progress.h"

#include <stdio.h>

static void show(struct progress *progress, double percent)
{
	progress->shown = percent;
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
}

void progress_start(struct progress *progress, bool enabled, uint64_t total)
{
	*progress = (struct progress){ .enabled = enabled, .total = total };
	if (enabled)
		show(progress, 0);
}

void progress_add(struct progress *progress, uint64_t done)
{
	double percent;

	progress->done += done;
	percent = progress->total ? 100.0 * progress->done / progress->total : 100;
	if (progress->enabled && percent >= progress->shown + 1)
		show(progress, percent);
}

void progress_end(struct progress *progress, bool failed)
{
	if (!progress->enabled)
		return;
	if (!failed)
		show(progress, 100);
	putchar('\n');
}
