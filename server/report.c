// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages to people; see report.h. */
#include "report.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

static bool verbose_wanted;
static bool use_syslog;

void report_init(bool verbose)
{
	verbose_wanted = verbose;
}

void report_to_syslog(void)
{
	openlog("ubd-serve", LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

/* Whether standard error goes to the journal, where lines begin with a priority (systemd.exec(5)).
 */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void report(int priority, const char *format, va_list args)
{
	if (use_syslog) {
		vsyslog(priority, format, args);
		return;
	}
	g_autofree char *line = g_strdup_vprintf(format, args);

	if (stderr_is_journal())
		fprintf(stderr, "<%d>ubd-serve: %s\n", priority, line);
	else
		fprintf(stderr, "ubd-serve: %s\n", line);
}

void report_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(LOG_ERR, format, args);
	va_end(args);
}

void report_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(LOG_NOTICE, format, args);
	va_end(args);
}

void report_verbose(const char *format, ...)
{
	va_list args;

	if (!verbose_wanted)
		return;
	va_start(args, format);
	report(LOG_INFO, format, args);
	va_end(args);
}
