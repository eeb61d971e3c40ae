// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Text for Prometheus; see metrics_text.h. A family has all its lines together, so each goes
 * through all servers. The older form has no type for descriptions, and names counters in full.
 */
#include "metrics_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "ctl.h"
#include "disk_stats.h"
#include "json_text.h"
#include "servers.h"

/* Of the buckets of histograms: powers of two, from 16 us to 16.8 s. */
#define FIRST_LE_US (UINT64_C(1) << 4)
#define LAST_LE_US  (UINT64_C(1) << 24)
#define NS_PER_S    UINT64_C(1000000000)

struct disk {
	const struct server *server;
	char *label; /* device="..." */
	struct disk_stats stats;
};

struct text {
	GString *out;
	enum metrics_form form;
	const struct disk *disks;
	unsigned nr;
	const GArray *asked;
};

/* ---- names and values ---- */

/* As it can be printed: this may go to a terminal. */
static char *escape(const char *text)
{
	g_autofree char *printable = ctl_printable(text);
	GString *out = g_string_new(NULL);

	for (const char *value = printable; *value; value++)
		if (*value == '"' || *value == '\\')
			g_string_append_printf(out, "\\%c", *value);
		else
			g_string_append_c(out, *value);
	return g_string_free(out, FALSE);
}

static char *label(const char *name, const char *value)
{
	g_autofree char *escaped = escape(value);

	return g_strdup_printf("%s=\"%s\"", name, escaped);
}

enum kind {
	COUNTER,
	GAUGE,
	INFO,
	HISTOGRAM,
};

static void head(struct text *text, const char *name, enum kind kind, const char *unit,
		 const char *help)
{
	static const char *const open[] = { "counter", "gauge", "info", "histogram" };
	static const char *const classic[] = { "counter", "gauge", "gauge", "histogram" };
	bool is_open = text->form == METRICS_OPEN;
	const char *suffix = is_open	       ? ""
			     : kind == COUNTER ? "_total"
			     : kind == INFO    ? "_info"
					       : "";

	g_string_append_printf(text->out, "# HELP %s%s %s\n", name, suffix, help);
	g_string_append_printf(text->out, "# TYPE %s%s %s\n", name, suffix,
			       is_open ? open[kind] : classic[kind]);
	if (is_open && unit)
		g_string_append_printf(text->out, "# UNIT %s %s\n", name, unit);
}

/* ---- families with a number for each disk ---- */

struct number {
	const char *name;
	enum kind kind;
	const char *unit, *help;
	size_t at; /* in struct disk_stats */
};

static const struct number numbers[] = {
	{ "ubd_requests_in_flight", GAUGE, NULL, "Requests in flight.",
	  offsetof(struct disk_stats, in_flight) },
	{ "ubd_requests_held", GAUGE, NULL, "Failed requests that are held and retried.",
	  offsetof(struct disk_stats, held) },
	{ "ubd_cache_size_bytes", GAUGE, "bytes", "Size of the metadata caches.",
	  offsetof(struct disk_stats, cache_bytes) },
	{ "ubd_cache_hits", COUNTER, NULL, "Hits in the metadata caches.",
	  offsetof(struct disk_stats, cache_hits) },
	{ "ubd_cache_misses", COUNTER, NULL, "Misses in the metadata caches.",
	  offsetof(struct disk_stats, cache_misses) },
	{ "ubd_image_file_bytes", GAUGE, "bytes", "Length of the image's file.",
	  offsetof(struct disk_stats, file_bytes) },
	{ "ubd_image_allocated_bytes", COUNTER, "bytes", "Space allocated in the image.",
	  offsetof(struct disk_stats, allocated_bytes) },
	{ "ubd_image_freed_bytes", COUNTER, "bytes", "Space freed in the image.",
	  offsetof(struct disk_stats, freed_bytes) },
};

/* For disks of which it is known. */
static const struct number space_numbers[] = {
	{ "ubd_space_free_bytes", GAUGE, "bytes", "Free space where the image is written.",
	  offsetof(struct disk_stats, space_free) },
	{ "ubd_space_size_bytes", GAUGE, "bytes", "All space there.",
	  offsetof(struct disk_stats, space_total) },
};

static uint64_t number_of(const struct disk *disk, const struct number *number)
{
	uint64_t value;

	memcpy(&value, (const char *)&disk->stats + number->at, sizeof(value));
	return value;
}

static void add_number(struct text *text, const struct number *number, bool is_space)
{
	head(text, number->name, number->kind, number->unit, number->help);
	for (unsigned i = 0; i < text->nr; i++)
		if (!is_space || text->disks[i].stats.space_total)
			g_string_append_printf(text->out, "%s%s{%s} %" PRIu64 "\n", number->name,
					       number->kind == COUNTER ? "_total" : "",
					       text->disks[i].label,
					       number_of(&text->disks[i], number));
}

/* ---- families with a number for each operation ---- */

static void add_operations(struct text *text, const char *name, const char *unit, const char *help,
			   size_t at)
{
	head(text, name, COUNTER, unit, help);
	for (unsigned i = 0; i < text->nr; i++)
		for (unsigned op = 0; op < DISK_OPS; op++) {
			const struct disk_op_stats *stats = &text->disks[i].stats.ops[op];
			uint64_t value;

			memcpy(&value, (const char *)stats + at, sizeof(value));
			g_string_append_printf(text->out,
					       "%s_total{%s,operation=\"%s\"} %" PRIu64 "\n", name,
					       text->disks[i].label, disk_op_names[op], value);
		}
}

/* Operations that never occurred would only be long. */
static void add_histogram(struct text *text, const char *name, const char *labels,
			  const struct disk_op_stats *op)
{
	uint64_t below = 0;
	unsigned bucket = 0;

	for (uint64_t le_us = FIRST_LE_US; le_us <= LAST_LE_US; le_us *= 2) {
		for (; bucket < latency_bucket(le_us); bucket++)
			below += op->latency[bucket];
		g_string_append_printf(text->out, "%s_bucket{%s,le=\"%.10g\"} %" PRIu64 "\n", name,
				       labels, le_us / 1e6, below);
	}
	for (; bucket < LATENCY_BUCKETS; bucket++)
		below += op->latency[bucket];
	g_string_append_printf(text->out, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels,
			       below);
	g_string_append_printf(text->out, "%s_count{%s} %" PRIu64 "\n", name, labels, below);
	g_string_append_printf(text->out, "%s_sum{%s} %" PRIu64 ".%09" PRIu64 "\n", name, labels,
			       op->total_ns / NS_PER_S, op->total_ns % NS_PER_S);
}

static void add_durations(struct text *text)
{
	static const char name[] = "ubd_request_duration_seconds";

	head(text, name, HISTOGRAM, "seconds", "Latency of requests.");
	for (unsigned i = 0; i < text->nr; i++)
		for (unsigned op = 0; op < DISK_OPS; op++) {
			const struct disk_op_stats *stats = &text->disks[i].stats.ops[op];
			g_autofree char *labels = g_strdup_printf(
				"%s,operation=\"%s\"", text->disks[i].label, disk_op_names[op]);

			if (stats->requests)
				add_histogram(text, name, labels, stats);
		}
}

/* ---- the family about servers ---- */

/* For alerts: a server that hangs, and so tells of no disk. */
static void add_up(struct text *text)
{
	head(text, "ubd_server_up", GAUGE, NULL, "0: the server does not respond.");
	for (unsigned i = 0; i < text->asked->len; i++) {
		const struct asked_server *server =
			&g_array_index(text->asked, struct asked_server, i);

		g_string_append_printf(text->out, "ubd_server_up{pid=\"%d\"} %d\n", server->pid,
				       server->is_up);
	}
}

/* ---- families about disks ---- */

static void add_info(struct text *text)
{
	head(text, "ubd_disk", INFO, NULL, "What is served.");
	for (unsigned i = 0; i < text->nr; i++) {
		const struct disk *disk = &text->disks[i];
		g_autofree char *path = server_image(disk->server);
		g_autofree char *image = label("image", path);
		g_autofree char *format =
			label("format", json_get_text(disk->server->status, "format"));

		g_string_append_printf(text->out, "ubd_disk_info{%s,%s,%s} 1\n", disk->label, image,
				       format);
	}
}

static void add_size(struct text *text)
{
	head(text, "ubd_disk_size_bytes", GAUGE, "bytes", "Size of the disk.");
	for (unsigned i = 0; i < text->nr; i++)
		g_string_append_printf(text->out, "ubd_disk_size_bytes{%s} %" PRIu64 "\n",
				       text->disks[i].label, server_size(text->disks[i].server));
}

/* What a server calls by this name, for alerts. */
static void add_troubles(struct text *text)
{
	static const char *const kinds[] = { "lost", "cut", "deleted" };

	head(text, "ubd_image_trouble", GAUGE, NULL,
	     "1: a flush has failed, or a file of the image was truncated or deleted.");
	for (unsigned i = 0; i < text->nr; i++) {
		const json_t *troubles = json_object_get(text->disks[i].server->status, "troubles");

		for (unsigned kind = 0; kind < G_N_ELEMENTS(kinds); kind++)
			g_string_append_printf(text->out, "ubd_image_trouble{%s,kind=\"%s\"} %d\n",
					       text->disks[i].label, kinds[kind],
					       *json_get_text(troubles, kinds[kind]) != 0);
	}
}

/* ---- all ---- */

/* Two servers of one name, such as one that ends and the next, would be two values of one sample.
 */
static GArray *parse(const GPtrArray *servers)
{
	GArray *disks = g_array_new(FALSE, FALSE, sizeof(struct disk));

	for (unsigned i = 0; i < servers->len; i++) {
		struct disk disk = { .server = servers->pdata[i] };

		if (servers_by_name(servers, server_name(disk.server), 0) != disk.server)
			continue;
		disk.label = label("device", server_name(disk.server));
		disk_stats_parse(disk.server->status, &disk.stats);
		g_array_append_val(disks, disk);
	}
	return disks;
}

char *metrics_text(const GPtrArray *servers, const GArray *asked, enum metrics_form form)
{
	g_autoptr(GArray) disks = parse(servers);
	struct text text = {
		.out = g_string_new(NULL),
		.form = form,
		.disks = (const struct disk *)disks->data,
		.nr = disks->len,
		.asked = asked,
	};

	add_up(&text);
	add_info(&text);
	add_size(&text);
	add_operations(&text, "ubd_requests", NULL, "Requests that were answered.",
		       offsetof(struct disk_op_stats, requests));
	add_operations(&text, "ubd_requests_failed", NULL, "Requests that failed.",
		       offsetof(struct disk_op_stats, failed));
	add_operations(&text, "ubd_request_bytes", "bytes", "Data of successful requests.",
		       offsetof(struct disk_op_stats, bytes));
	add_durations(&text);
	for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
		add_number(&text, &numbers[i], false);
	for (unsigned i = 0; i < G_N_ELEMENTS(space_numbers); i++)
		add_number(&text, &space_numbers[i], true);
	add_troubles(&text);
	if (form == METRICS_OPEN)
		g_string_append(text.out, "# EOF\n");
	for (unsigned i = 0; i < disks->len; i++)
		g_free(g_array_index(disks, struct disk, i).label);
	return g_string_free(text.out, FALSE);
}
