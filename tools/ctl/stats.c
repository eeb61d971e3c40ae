// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl stats: requests and latencies, by operation, since the servers started. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "disk_stats.h"
#include "json_text.h"
#include "servers.h"
#include "subject.h"
#include "values.h"

static void print_json(const GPtrArray *servers)
{
	json_auto_t *array = json_array();

	for (unsigned i = 0; i < servers->len; i++)
		json_append(array, json_incref(((struct server *)servers->pdata[i])->status));
	json_print(array);
}

/* The end of a bucket, which may be past the longest latency in it. */
static char *percentile(const struct disk_op_stats *op, double part)
{
	return ctl_short_time(MIN(latency_percentile_us(op->latency, part), op->max_ns / 1000.0));
}

static void print_operation(const char *name, const struct disk_op_stats *op)
{
	g_autofree char *bytes = size_to_text(op->bytes);
	g_autofree char *mean = ctl_short_time(op->total_ns / 1000.0 / op->requests);
	g_autofree char *p50 = percentile(op, 0.5);
	g_autofree char *p99 = percentile(op, 0.99);
	g_autofree char *max = ctl_short_time(op->max_ns / 1000.0);

	printf("  %-12s %12" PRIu64 " %8" PRIu64 " %10s %7s %7s %7s %7s\n", name, op->requests,
	       op->failed, bytes, mean, p50, p99, max);
}

static void print_server(const struct server *server)
{
	g_autofree char *name = ctl_printable(server_name(server));
	g_autofree char *image = server_image(server);
	struct disk_stats stats;

	disk_stats_parse(server->status, &stats);
	printf("%s: %s\n", name, image);
	printf("  %-12s %12s %8s %10s %7s %7s %7s %7s\n", "OPERATION", "REQUESTS", "FAILED", "DATA",
	       "MEAN", "P50", "P99", "MAX");
	for (unsigned i = 0; i < DISK_OPS; i++)
		if (stats.ops[i].requests)
			print_operation(disk_op_names[i], &stats.ops[i]);
	printf("  in flight: %" PRIu64 ", held: %" PRIu64 "\n", stats.in_flight, stats.held);
}

int ctl_stats(const struct command *command, char **argv)
{
	g_autofree char *output = NULL;
	g_auto(GStrv) words = NULL;
	gboolean wants_json = FALSE;
	const GOptionEntry entries[] = {
		{ "json", 0, 0, G_OPTION_ARG_NONE, &wants_json, "The same as --output=json", NULL },
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "[DEVICE...]" },
		{},
	};
	g_autoptr(GPtrArray) servers = NULL;
	bool json;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	servers = subjects_ask(words, "stats");
	if (!servers)
		return EXIT_FAILURE;
	if (json || wants_json)
		print_json(servers);
	for (unsigned i = 0; i < servers->len && !json && !wants_json; i++)
		print_server(servers->pdata[i]);
	return EXIT_SUCCESS;
}
