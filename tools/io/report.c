// SPDX-License-Identifier: GPL-2.0-or-later
/* Reports what a request did; see report.h. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

#include "values.h"

#define DUMP_WIDTH 16

/* Hours, minutes, seconds and hundredths if @full, or if it took a second. */
static char *time_text(int64_t microseconds, bool full)
{
	unsigned hundredths = microseconds / 10000 % 100;
	uint64_t seconds = microseconds / G_USEC_PER_SEC;

	if (!full && !seconds)
		return g_strdup_printf("00.%02u sec", hundredths);
	return g_strdup_printf("%" PRIu64 ":%02u:%02u.%02u", seconds / 3600,
			       (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60), hundredths);
}

void report_request(const struct report_opts *opts, const char *verb, uint64_t off, uint64_t bytes,
		    int64_t started)
{
	int64_t microseconds = MAX(g_get_monotonic_time() - started, 1);
	double per_second = (double)G_USEC_PER_SEC / microseconds;
	g_autofree char *time = time_text(microseconds, opts->machine);
	g_autofree char *size = size_to_io_text(bytes);
	g_autofree char *rate = size_to_io_text(bytes * per_second);

	if (opts->quiet)
		return;
	if (opts->machine) {
		printf("%" PRIu64 ",1,%s,%.3f,%.3f\n", bytes, time, bytes * per_second, per_second);
		return;
	}
	printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n", verb, bytes, bytes, off);
	printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, time, rate, per_second);
}

void report_dump(const uint8_t *buf, uint64_t off, uint64_t bytes)
{
	for (uint64_t line = 0; line < bytes; line += DUMP_WIDTH) {
		uint64_t end = MIN(line + DUMP_WIDTH, bytes);

		printf("%08" PRIx64 ":  ", off + line);
		for (uint64_t i = line; i < end; i++)
			printf("%02x ", buf[i]);
		putchar(' ');
		for (uint64_t i = line; i < end; i++)
			putchar(g_ascii_isalnum(buf[i]) ? buf[i] : '.');
		putchar('\n');
	}
}
