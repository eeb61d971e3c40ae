// SPDX-License-Identifier: GPL-2.0-or-later
/* The line of a long job that says how far it is; see progress.h. */
#include "progress.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The job that signals ask about; NULL if there is none. */
static struct progress *_Atomic current;

static uint64_t done_of(const struct progress *progress)
{
	return progress->count ? progress->count(progress->arg) : progress->done;
}

static double percent_of(const struct progress *progress)
{
	return progress->total ? 100.0 * done_of(progress) / progress->total : 100;
}

static void show(struct progress *progress, double percent)
{
	progress->shown = percent;
	fflush(stdout);
	/* It is not an error if nobody is watching any more. */
	if (dprintf(STDOUT_FILENO, "    (%3.2f/100%%)\r", percent) < 0)
		progress->enabled = false;
}

void progress_start(struct progress *progress, bool enabled, uint64_t total)
{
	*progress = (struct progress){ .enabled = enabled, .total = total };
	if (enabled)
		show(progress, 0);
	current = progress;
}

void progress_start_counted(struct progress *progress, uint64_t total, uint64_t (*count)(void *arg),
			    void *arg)
{
	*progress = (struct progress){ .total = total, .count = count, .arg = arg };
	current = progress;
}

void progress_add(struct progress *progress, uint64_t done)
{
	double percent;

	progress->done += done;
	percent = percent_of(progress);
	if (progress->enabled && percent >= progress->shown + 1)
		show(progress, percent);
}

void progress_complete(struct progress *progress)
{
	progress->done = progress->total;
	if (progress->enabled && progress->shown < 100)
		show(progress, 100);
}

void progress_end(struct progress *progress, bool failed)
{
	current = NULL;
	if (!progress->enabled)
		return;
	if (!failed)
		show(progress, 100);
	putchar('\n');
}

/* ---- when asked by a signal ---- */

/* Decimal, with at least as many digits as @place; returns the end. */
static char *put_number(char *text, unsigned number, unsigned place)
{
	for (unsigned weight = 100; weight; weight /= 10)
		if (number >= weight || weight <= place)
			*text++ = '0' + number / weight % 10;
	return text;
}

/* Runs in a signal handler, so it does not use printf(). */
static void tell(int signal)
{
	const struct progress *progress = current;
	unsigned hundredths;
	char line[sizeof("    (100.00/100%)\n")] = "    (", *end = line + strlen(line);
	int saved_errno = errno;

	if (!progress)
		return;
	hundredths = MIN(percent_of(progress), 100) * 100;
	end = put_number(end, hundredths / 100, 1);
	*end++ = '.';
	end = put_number(end, hundredths % 100, 10);
	end = stpcpy(end, "/100%)\n");
	if (write(STDERR_FILENO, line, end - line) < 0)
		errno = saved_errno;
}

void progress_listen(void)
{
	struct sigaction action = { .sa_handler = tell, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &action, NULL);
#ifdef SIGINFO
	sigaction(SIGINFO, &action, NULL);
#endif
}
