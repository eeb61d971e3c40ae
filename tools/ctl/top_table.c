// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of ubdctl top. */
#include "top.h"

#include <inttypes.h>

#include "ctl.h"

/* ---- numbers ---- */

/* "950", "12.3k": at most 6 characters. */
static char *short_number(double value)
{
	static const char units[] = " kMGTPE";
	unsigned unit = 0;

	for (; value >= 999.5 && units[unit + 1]; unit++)
		value /= 1000;
	if (!unit)
		return g_strdup_printf("%.0f", value);
	return g_strdup_printf(value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

static char *megabytes(double bytes)
{
	return g_strdup_printf(bytes < 99.95e6 ? "%.1f" : "%.0f", bytes / 1e6);
}

static double per_second(const struct top_row *row, uint64_t number)
{
	return row->seconds > 0 ? number / row->seconds : 0;
}

static uint64_t all_requests(const struct disk_stats *stats)
{
	uint64_t requests = 0;

	for (unsigned op = 0; op < DISK_OPS; op++)
		requests += stats->ops[op].requests;
	return requests;
}

static void all_latencies(const struct disk_stats *stats, uint64_t *ret_counts)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		ret_counts[i] = 0;
		for (unsigned op = 0; op < DISK_OPS; op++)
			ret_counts[i] += stats->ops[op].latency[i];
	}
}

static char *percentile(const struct top_row *row, double part)
{
	uint64_t counts[LATENCY_BUCKETS];

	all_latencies(&row->since, counts);
	return all_requests(&row->since) ? ctl_short_time(latency_percentile_us(counts, part))
					 : g_strdup("-");
}

/* ---- columns ---- */

static char *show_device(const struct top_row *row)
{
	return g_strdup(row->device);
}

static char *show_reads(const struct top_row *row)
{
	return short_number(per_second(row, row->since.ops[DISK_READ].requests));
}

static char *show_writes(const struct top_row *row)
{
	return short_number(per_second(row, row->since.ops[DISK_WRITE].requests));
}

static char *show_others(const struct top_row *row)
{
	const struct disk_op_stats *ops = row->since.ops;

	return short_number(per_second(row, all_requests(&row->since) - ops[DISK_READ].requests -
						    ops[DISK_WRITE].requests));
}

static char *show_read_bytes(const struct top_row *row)
{
	return megabytes(per_second(row, row->since.ops[DISK_READ].bytes));
}

static char *show_written_bytes(const struct top_row *row)
{
	return megabytes(per_second(row, row->since.ops[DISK_WRITE].bytes));
}

static char *show_depth(const struct top_row *row)
{
	return g_strdup_printf("%" PRIu64, row->stats.in_flight);
}

static char *show_p50(const struct top_row *row)
{
	return percentile(row, 0.5);
}

static char *show_p99(const struct top_row *row)
{
	return percentile(row, 0.99);
}

static char *show_max(const struct top_row *row)
{
	return percentile(row, 1);
}

static char *show_hits(const struct top_row *row)
{
	uint64_t hits = row->since.cache_hits, all = hits + row->since.cache_misses;

	/* Not 100 while there are misses. */
	return all ? g_strdup_printf("%" PRIu64 "%%", (uint64_t)(hits * 100.0 / all))
		   : g_strdup("-");
}

static char *show_allocated(const struct top_row *row)
{
	return megabytes(per_second(row, row->since.allocated_bytes));
}

static char *show_space(const struct top_row *row)
{
	const struct disk_stats *stats = &row->stats;

	return stats->space_total
		       ? g_strdup_printf("%.0f%%", stats->space_free * 100.0 / stats->space_total)
		       : g_strdup("-");
}

static char *show_image(const struct top_row *row)
{
	return g_strdup(row->image);
}

/* Those of a higher rank are left out first. */
static const struct column {
	const char *name;
	unsigned rank;
	unsigned width; /* at least */
	bool is_text;
	bool needs_time;
	char *(*show)(const struct top_row *row);
} columns[] = {
	{ "DEVICE", 0, 11, true, false, show_device },
	{ "R/S", 1, 6, false, true, show_reads },
	{ "W/S", 1, 6, false, true, show_writes },
	{ "OTHER/S", 6, 7, false, true, show_others },
	{ "R MB/S", 3, 7, false, true, show_read_bytes },
	{ "W MB/S", 3, 7, false, true, show_written_bytes },
	{ "DEPTH", 4, 5, false, false, show_depth },
	{ "P50", 4, 6, false, true, show_p50 },
	{ "P99", 2, 6, false, true, show_p99 },
	{ "MAX", 5, 6, false, true, show_max },
	{ "HITS", 7, 5, false, true, show_hits },
	{ "NEW MB/S", 7, 8, false, true, show_allocated },
	{ "SPACE", 6, 5, false, false, show_space },
	{ "IMAGE", 8, 12, true, false, show_image },
};
#define NR_COLUMNS G_N_ELEMENTS(columns)

static unsigned text_width(const char *text)
{
	unsigned width = 0;

	for (; *text; text = g_utf8_next_char(text)) {
		gunichar c = g_utf8_get_char(text);

		width += g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
	}
	return width;
}

/* As much of a text as fits. */
static char *cut(const char *text, unsigned width)
{
	g_autofree char *part = NULL;
	glong length = g_utf8_strlen(text, -1);

	part = g_strdup(text);
	while (length > 0 && text_width(part) > width) {
		g_free(part);
		part = g_utf8_substring(text, 0, --length);
	}
	return g_steal_pointer(&part);
}

static char *cell(const struct column *column, const struct top_row *row)
{
	return column->needs_time && row->seconds <= 0 ? g_strdup("-") : column->show(row);
}

/* The widths of the columns, 0 for those that are left out. */
static void choose_columns(const GPtrArray *rows, unsigned nr, unsigned width,
			   unsigned ret_widths[NR_COLUMNS])
{
	unsigned rank = G_MAXUINT, total;

	do {
		unsigned highest = 0;

		total = 0;
		for (unsigned i = 0; i < NR_COLUMNS; i++) {
			ret_widths[i] = columns[i].rank < rank ? columns[i].width : 0;
			for (unsigned r = 0; r < nr && ret_widths[i]; r++) {
				g_autofree char *text = cell(&columns[i], rows->pdata[r]);

				ret_widths[i] = MAX(ret_widths[i], text_width(text));
			}
			if (!ret_widths[i])
				continue;
			/* The last column goes on to the edge. */
			total += i + 1 < NR_COLUMNS ? ret_widths[i] + 1 : columns[i].width;
			highest = MAX(highest, columns[i].rank);
		}
		rank = highest;
	} while (total > width + 1 && rank > 1);
}

static void add_cell(GString *line, const struct column *column, const char *text, unsigned width)
{
	unsigned blanks = width - MIN(width, text_width(text));

	if (line->len)
		g_string_append_c(line, ' ');
	if (!column->is_text)
		g_string_append_printf(line, "%*s", blanks, "");
	g_string_append(line, text);
	if (column->is_text)
		g_string_append_printf(line, "%*s", blanks, "");
}

/* @row NULL: the heading. */
static void add_line(GString *table, const struct top_row *row, const unsigned *widths,
		     unsigned width)
{
	GString *line = g_string_new(NULL);
	g_autofree char *text = NULL;

	for (unsigned i = 0; i < NR_COLUMNS; i++) {
		g_autofree char *value = row ? cell(&columns[i], row) : g_strdup(columns[i].name);

		if (widths[i])
			add_cell(line, &columns[i], value, widths[i]);
	}
	text = cut(line->str, width);
	g_string_append_printf(table, "%s\n", g_strchomp(text));
	g_string_free(line, TRUE);
}

char *top_table(const GPtrArray *rows, unsigned max_rows, unsigned width)
{
	unsigned widths[NR_COLUMNS], nr = MIN(rows->len, max_rows);
	GString *table = g_string_new(NULL);

	choose_columns(rows, nr, width, widths);
	add_line(table, NULL, widths, width);
	for (unsigned r = 0; r < nr; r++)
		add_line(table, rows->pdata[r], widths, width);
	return g_string_free(table, FALSE);
}

gint top_compare(gconstpointer a, gconstpointer b)
{
	const struct top_row *x = *(const struct top_row *const *)a,
			     *y = *(const struct top_row *const *)b;
	double more =
		per_second(y, all_requests(&y->since)) - per_second(x, all_requests(&x->since));

	if (more != 0)
		return more > 0 ? 1 : -1;
	return g_strcmp0(x->device, y->device);
}
