// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Linked to a program with inject.c, it makes one of its calls below the files go wrong:
 * UBD_FAULT=KIND:NUMBER, or KIND:NUMBER+ for all from that one on. At the end the numbers of calls
 * and of faults are written to the file UBD_FAULT_REPORT.
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "inject.h"

static enum fault_kind kind_named(const char *name)
{
	for (enum fault_kind kind = 0; kind < NR_FAULT_KINDS; kind++) {
		if (g_str_equal(fault_names[kind], name))
			return kind;
	}
	g_error("UBD_FAULT: no kind '%s'", name);
}

__attribute__((constructor)) static void start(void)
{
	const char *wanted = getenv("UBD_FAULT");
	g_auto(GStrv) words = NULL;

	if (!wanted)
		return;
	words = g_strsplit(wanted, ":", 2);
	if (!words[0] || !words[1])
		g_error("UBD_FAULT is '%s', must be KIND:NUMBER", wanted);
	inject_start(kind_named(words[0]), atoi(words[1]), g_str_has_suffix(words[1], "+"));
}

__attribute__((destructor)) static void report(void)
{
	const char *filename = getenv("UBD_FAULT_REPORT");
	FILE *file = filename ? fopen(filename, "w") : NULL;

	if (!file)
		return;
	fprintf(file, "%u %u\n", inject_calls(), inject_hits());
	fclose(file);
}
