// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sets of freed host clusters, as runs. Clusters are mostly freed in the order in which they lie,
 * so a new one usually extends the last run. Whenever a set has doubled it is sorted and merged,
 * which keeps it small at little cost per run.
 */
#include "qcow2.h"

/* Fewer are not worth sorting. */
#define FEW_RUNS 1024u

void qcow2_freed_runs_init(struct freed_runs *set)
{
	set->runs = g_array_new(FALSE, FALSE, sizeof(struct freed_run));
	set->nr_merged = 0;
}

void qcow2_freed_runs_destroy(struct freed_runs *set)
{
	g_array_unref(set->runs);
}

void qcow2_freed_runs_clear(struct freed_runs *set)
{
	g_array_set_size(set->runs, 0);
	set->nr_merged = 0;
}

static bool is_next(const struct freed_run *run, const struct freed_run *next)
{
	return next->cluster == run->cluster + run->nr_clusters &&
	       next->references == run->references && next->is_l2 == run->is_l2;
}

static void append(GArray *runs, const struct freed_run *run)
{
	struct freed_run *last = NULL;

	if (runs->len)
		last = &g_array_index(runs, struct freed_run, runs->len - 1);
	if (last && is_next(last, run))
		last->nr_clusters += run->nr_clusters;
	else
		g_array_append_vals(runs, run, 1);
}

void qcow2_freed_runs_add(struct freed_runs *set, const struct freed_run *run)
{
	append(set->runs, run);
	if (set->runs->len >= 2 * MAX(set->nr_merged, FEW_RUNS))
		qcow2_freed_runs_merge(set);
}

void qcow2_freed_runs_move(struct freed_runs *to, struct freed_runs *from)
{
	struct freed_runs empty = *to;

	if (!to->runs->len) {
		*to = *from;
		*from = empty;
		return;
	}
	for (guint i = 0; i < from->runs->len; i++)
		qcow2_freed_runs_add(to, &g_array_index(from->runs, struct freed_run, i));
	qcow2_freed_runs_clear(from);
}

/* A place where the number of lost references changes. */
struct edge {
	bool is_l2;
	uint64_t cluster;
	uint64_t references; /* to add, modulo 2^64 */
};

static gint compare_edges(gconstpointer a, gconstpointer b)
{
	const struct edge *x = a, *y = b;

	if (x->is_l2 != y->is_l2)
		return x->is_l2 ? 1 : -1;
	return x->cluster < y->cluster ? -1 : x->cluster > y->cluster;
}

static GArray *sorted_edges(const GArray *runs)
{
	GArray *edges = g_array_sized_new(FALSE, FALSE, sizeof(struct edge), 2 * runs->len);

	for (guint i = 0; i < runs->len; i++) {
		const struct freed_run *run = &g_array_index(runs, struct freed_run, i);
		struct edge begin = { run->is_l2, run->cluster, run->references };
		struct edge end = { run->is_l2, run->cluster + run->nr_clusters, -run->references };

		g_array_append_val(edges, begin);
		g_array_append_val(edges, end);
	}
	g_array_sort(edges, compare_edges);
	return edges;
}

void qcow2_freed_runs_merge(struct freed_runs *set)
{
	g_autoptr(GArray) edges = sorted_edges(set->runs);
	struct freed_run run = { 0 };

	g_array_set_size(set->runs, 0);
	for (guint i = 0; i < edges->len; i++) {
		const struct edge *edge = &g_array_index(edges, struct edge, i);

		run.nr_clusters = edge->cluster - run.cluster;
		if (run.references && run.nr_clusters)
			append(set->runs, &run);
		run.is_l2 = edge->is_l2;
		run.cluster = edge->cluster;
		run.references += edge->references;
	}
	set->nr_merged = set->runs->len;
}
