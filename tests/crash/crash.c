// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts: does an image survive them, with everything that was flushed?
 *
 * 	crash [--seed N] [--seeds COUNT | --seconds S] [--cuts N] ...
 *
 * A seed decides on an image, a workload, and a number of cuts; options override parts of it. What
 * a failure prints repeats it: exactly on one loop, roughly on several.
 *
 * With --kill no power is cut but the process dies: the disk keeps everything that it was given,
 * and everything that was written back must be there.
 *
 * With --break RULE something is broken on purpose, and the test passes if that is noticed: `flush`
 * is a disk whose flushes do nothing, C1 to C7 are the rules of the qcow2 format (if the build has
 * its mutants).
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case.h"
#include "enum_names.h"
#include "qcow2/rules.h"
#include "structural.h"

/* The exit status that means "skipped" to meson. */
#define EXIT_SKIPPED 77

static struct {
	gint64 seed;
	int seeds;
	int seconds;
	int cuts;
	int only_cut;
	char *format;
	int size_mib;
	int cluster_size;
	int refcount_bits;
	int loops;
	int jobs;
	int requests;
	int cache_bytes;
	int faults;
	int header_faults;
	gboolean lazy;
	gboolean extended_l2;
	gboolean overwrites;
	gboolean kill;
	gboolean write_back;
	gboolean only_writes;
	gboolean data_file;
	char *operation;
	char *broken;
	gboolean verbose;
} options = {
	.seed = 1,
	.seeds = 60,
	.cuts = 60,
	.only_cut = CUT_ALL,
	.loops = -1,
	.cache_bytes = -1,
	.faults = -1,
	.header_faults = -1,
};

static const GOptionEntry option_entries[] = {
	{ "seed", 's', 0, G_OPTION_ARG_INT64, &options.seed, "The first seed (1)", "N" },
	{ "seeds", 0, 0, G_OPTION_ARG_INT, &options.seeds, "How many seeds (60)", "COUNT" },
	{ "seconds", 0, 0, G_OPTION_ARG_INT, &options.seconds, "As many seeds as take so long",
	  "S" },
	{ "cuts", 0, 0, G_OPTION_ARG_INT, &options.cuts, "Power cuts per seed (60)", "N" },
	{ "cut", 0, 0, G_OPTION_ARG_INT, &options.only_cut, "Only this one, of one seed", "K" },
	{ "format", 0, 0, G_OPTION_ARG_STRING, &options.format, "qcow2 (the default) or raw", "F" },
	{ "size", 0, 0, G_OPTION_ARG_INT, &options.size_mib, "Size of the disk", "MIB" },
	{ "cluster-size", 0, 0, G_OPTION_ARG_INT, &options.cluster_size, "In bytes", "N" },
	{ "refcount-bits", 0, 0, G_OPTION_ARG_INT, &options.refcount_bits, "1 to 64", "N" },
	{ "extended-l2", 0, 0, G_OPTION_ARG_NONE, &options.extended_l2, "With subclusters", NULL },
	{ "data-file", 0, 0, G_OPTION_ARG_NONE, &options.data_file, "With an external data file",
	  NULL },
	{ "loops", 0, 0, G_OPTION_ARG_INT, &options.loops, "Threads with a loop each", "N" },
	{ "jobs", 0, 0, G_OPTION_ARG_INT, &options.jobs, "Requests in flight", "N" },
	{ "requests", 0, 0, G_OPTION_ARG_INT, &options.requests, "Of each job", "N" },
	{ "cache-bytes", 0, 0, G_OPTION_ARG_INT, &options.cache_bytes, "Metadata cache", "N" },
	{ "faults", 0, 0, G_OPTION_ARG_INT, &options.faults, "Failing disk requests in 1000", "N" },
	{ "header-faults", 0, 0, G_OPTION_ARG_INT, &options.header_faults,
	  "Failing writes at the start of the disk in 100", "N" },
	{ "lazy-refcounts", 0, 0, G_OPTION_ARG_NONE, &options.lazy, "With lazy refcounts", NULL },
	{ "overwrites", 0, 0, G_OPTION_ARG_NONE, &options.overwrites, "Hardly a request allocates",
	  NULL },
	{ "only-writes", 0, 0, G_OPTION_ARG_NONE, &options.only_writes,
	  "Reads, writes and flushes, all over the disk", NULL },
	{ "write-back", 0, 0, G_OPTION_ARG_NONE, &options.write_back,
	  "Requests end when their changes are written back", NULL },
	{ "kill", 0, 0, G_OPTION_ARG_NONE, &options.kill,
	  "No power cuts: the process dies, what was acknowledged must be there", NULL },
	{ "operation", 0, 0, G_OPTION_ARG_STRING, &options.operation,
	  "Of the structural operations only this one; or none", "NAME" },
	{ "break", 0, 0, G_OPTION_ARG_STRING, &options.broken,
	  "Break it; pass if that is caught: flush, C1 to C7", "RULE" },
	{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &options.verbose, "Say what is done", NULL },
	{ 0 },
};

/* ---- from a seed to a case ---- */

#define DRAW(rng, array) ((array)[rng_below(rng, G_N_ELEMENTS(array))])

static void draw_filling(struct image_spec *spec, struct rng *rng)
{
	static const enum prepared_backing backings[] = {
		BACKING_NONE, BACKING_NONE, BACKING_RAW, BACKING_RAW, BACKING_QCOW2, BACKING_SHORT,
	};

	spec->backing = DRAW(rng, backings);
	spec->percent_filled = rng_percent(rng, 50) ? 0 : 40;
	spec->compressed = spec->percent_filled && rng_percent(rng, 50);
	spec->compression = spec->compat == 3 && rng_percent(rng, 30) ? "zstd" : "zlib";
}

static void draw_features(struct image_spec *spec, struct rng *rng)
{
	if (options.extended_l2 || options.data_file || options.lazy)
		spec->compat = 3;
	spec->lazy_refcounts |= options.lazy;
	if (spec->compat == 2 || !g_str_equal(spec->format, "qcow2"))
		return;
	spec->extended_l2 = options.extended_l2 || rng_percent(rng, 15);
	if (spec->extended_l2)
		spec->cluster_size = MAX(spec->cluster_size, 16384);
	spec->data_file = options.data_file || rng_percent(rng, 10);
	if (spec->data_file)
		spec->compressed = false;
	spec->data_file_raw = spec->data_file && rng_percent(rng, 30);
	if (spec->data_file_raw)
		spec->backing = BACKING_NONE;
}

static void draw_spec(struct image_spec *spec, struct rng *rng)
{
	static const unsigned cluster_sizes[] = { 512, 512, 512, 512, 1024, 4096, 4096, 65536 };
	/* Wide refcounts make each refcount block cover little, so that many are made. */
	static const unsigned refcount_bits[] = { 1, 2, 8, 16, 16, 32, 64, 64, 64, 64 };

	spec->format = options.format ? options.format : "qcow2";
	spec->cluster_size = DRAW(rng, cluster_sizes);
	spec->refcount_bits = DRAW(rng, refcount_bits);
	spec->compat = rng_percent(rng, 15) ? 2 : 3;
	spec->lazy_refcounts = spec->compat == 3 && rng_percent(rng, 15);
	/* Small, so that clusters are freed and used again. */
	spec->size = spec->cluster_size == 65536 ? 8 << 20 : rng_between(rng, 1, 3) << 20;
	draw_filling(spec, rng);
	draw_features(spec, rng);
}

static void draw_disk(struct crash_case *c, struct rng *rng)
{
	static const uint32_t alignments[] = { 1, 1, 512, 4096 };
	static const unsigned late[] = { 0, 3, 3, 10 };

	c->max_delay = rng_between(rng, 0, 6);
	c->percent_late = DRAW(rng, late);
	c->alignment = DRAW(rng, alignments);
	c->no_write_zeroes = rng_percent(rng, 20);
	c->fault_permille = rng_percent(rng, 30) ? rng_between(rng, 5, 60) : 0;
	c->flush_error_stays = rng_percent(rng, 30);
}

static void draw_workload(struct crash_case *c, struct rng *rng)
{
	static const unsigned loops[] = { 1, 1, 2, 4 };
	static const unsigned flushes[] = { 2, 5, 15, 15 };
	static const unsigned caches[] = { 1, 16 << 10, 0 };
	unsigned requests = rng_between(rng, 200, 500) << rng_below(rng, 3);

	c->loops = DRAW(rng, loops);
	c->jobs = rng_percent(rng, 15) ? 1 : rng_between(rng, 4, 32);
	c->ops_per_job = 1 + requests / c->jobs;
	c->percent_flush = DRAW(rng, flushes);
	c->cache_bytes = DRAW(rng, caches);
	c->percent_compressed = rng_percent(rng, 40) ? rng_between(rng, 5, 90) : 0;
	c->unmap = rng_percent(rng, 50);
	c->operations = rng_percent(rng, 70) ? rng_between(rng, 1, 12) : 0;
}

/* A disk of few clusters that many jobs compete for: each is freed and reused often. */
static void make_crowded(struct crash_case *c, struct rng *rng)
{
	c->spec.size = 1 << 20;
	c->spec.cluster_size = 4096;
	c->jobs = 40;
	c->ops_per_job = 50;
	c->percent_late = rng_between(rng, 3, 10);
}

/* Subclusters need large clusters; nothing in a data file is compressed. */
static void fit_to_features(struct crash_case *c)
{
	if (options.extended_l2)
		c->spec.cluster_size = MAX(c->spec.cluster_size, 16384);
	if (c->spec.cluster_size < 16384)
		c->spec.extended_l2 = false;
	if (c->spec.data_file)
		c->percent_compressed = 0;
}

static void set_what_is_wanted(struct crash_case *c)
{
	struct image_spec *spec = &c->spec;

	if (options.cluster_size)
		spec->cluster_size = options.cluster_size;
	if (options.refcount_bits) {
		spec->refcount_bits = options.refcount_bits;
		spec->compat = 3;
	}
	if (options.size_mib)
		spec->size = (uint64_t)options.size_mib << 20;
	if (options.loops > 0)
		c->loops = options.loops;
	if (options.jobs > 0)
		c->jobs = options.jobs;
	if (options.requests > 0)
		c->ops_per_job = options.requests;
	if (options.cache_bytes >= 0)
		c->cache_bytes = options.cache_bytes;
	if (options.operation) {
		c->operation = options.operation;
		c->operations = g_str_equal(options.operation, "none") ? 0 : MAX(c->operations, 4);
	}
	if (options.faults >= 0)
		c->fault_permille = options.faults;
	if (options.header_faults >= 0)
		c->header_fault_percent = options.header_faults;
	/* Narrow refcounts cannot count the compressed clusters that share a host cluster. */
	if (spec->compat == 3 && spec->refcount_bits < 8)
		spec->compressed = false;
}

static struct crash_case case_of(uint64_t seed)
{
	struct rng rng = rng_of(seed, 0x63617365);
	struct crash_case c = {
		.seed = seed,
		.cuts = options.cuts,
		.only_cut = options.only_cut,
		.keep_evidence = !options.broken,
		.flush_does_nothing = options.broken && g_str_equal(options.broken, "flush"),
	};

	draw_spec(&c.spec, &rng);
	draw_workload(&c, &rng);
	draw_disk(&c, &rng);
	if (rng_percent(&rng, 20))
		make_crowded(&c, &rng);
	c.overwrites = options.overwrites || rng_percent(&rng, 10);
	if (options.header_faults < 0 && rng_percent(&rng, 15))
		c.header_fault_percent = rng_between(&rng, 10, 60);
	set_what_is_wanted(&c);
	fit_to_features(&c);
	c.kills = options.kill;
	c.write_back = c.kills || rng_percent(&rng, 25) || options.write_back;
	/* Most of them to new clusters, one after the other. */
	c.only_writes = rng_percent(&rng, 15) || options.only_writes;
	return c;
}

/* ---- running them ---- */

static bool time_is_left(gint64 began, int done)
{
	if (options.only_cut != CUT_ALL)
		return done == 0;
	if (options.seconds)
		return g_get_monotonic_time() - began < options.seconds * G_TIME_SPAN_SECOND;
	return done < options.seeds;
}

/* NULL, or the first failure. */
static char *run_cases(struct crash_stats *stats)
{
	gint64 began = g_get_monotonic_time();
	char *failure = NULL;

	for (int i = 0; !failure && time_is_left(began, i); i++) {
		struct crash_case c = case_of(options.seed + i);
		g_autofree char *text = crash_case_describe(&c);

		if (options.verbose)
			printf("%s\n", text);
		fflush(stdout);
		failure = crash_case_run(&c, stats);
		if (failure && !options.broken)
			printf("%s\n", text);
	}
	printf("%" G_GUINT64_FORMAT " cuts (%" G_GUINT64_FORMAT
	       " seen by qemu-img, %" G_GUINT64_FORMAT
	       " written to again and cut %" G_GUINT64_FORMAT " times more, %" G_GUINT64_FORMAT
	       " repaired), %" G_GUINT64_FORMAT " guest requests (%" G_GUINT64_FORMAT
	       " failed as they were to), %" G_GUINT64_FORMAT
	       " structural operations, %" G_GUINT64_FORMAT " disk requests, %.1f s\n",
	       stats->cuts, stats->cuts_by_qemu_img, stats->cuts_continued, stats->cuts_again,
	       stats->cuts_repaired, stats->guest_requests, stats->failed_requests,
	       stats->operations, stats->disk_requests,
	       (g_get_monotonic_time() - began) / (double)G_TIME_SPAN_SECOND);
	return failure;
}

static int run_whole(void)
{
	struct crash_stats stats = { 0 };
	g_autofree char *failure = run_cases(&stats);

	if (failure)
		printf("FAILED %s\n", failure);
	return failure ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Whether the rule is known and could be broken. */
#ifdef UBD_MUTANTS
static const struct enum_name rules[] = {
	{ "C1", RULE_C1_REFCOUNT_FIRST },
	{ "C1-reserve", RULE_C1_RESERVE },
	{ "C2", RULE_C2_DATA_DURABLE },
	{ "C2-order", RULE_C2_ORDER_KEPT },
	{ "C3", RULE_C3_REFCOUNT_BLOCK },
	{ "C3-l2-table", RULE_C3_L2_TABLE },
	{ "C3-empty-table", RULE_C3_EMPTY_TABLE },
	{ "C3-file-length", RULE_C3_FILE_LENGTH },
	{ "C4", RULE_C4_REFCOUNT_FALLS },
	{ "C5", RULE_C5_REUSE },
	{ "C6", RULE_C6_FAILED_FLUSH },
	{ "C6-header", RULE_C6_HEADER },
	{ "C7", RULE_C7_FLUSH },
	{ "bitmap-mark", RULE_BITMAP_MARK },
	{ "write-back", RULE_WRITE_BACK_IN_FLIGHT },
	{ "write-back-others", RULE_WRITE_BACK_OF_OTHERS },
	{ "reserve", RULE_RESERVE_RELEASED },
	{ "ahead", RULE_AHEAD_IS_ZERO },
	{},
};
#endif

static bool break_rule(void)
{
	if (g_str_equal(options.broken, "flush"))
		return true;
#ifdef UBD_MUTANTS
	uint64_t rule;

	if (enum_from_name(rules, options.broken, &rule)) {
		qcow2_broken_rule = rule;
		return true;
	}
#endif
	return false;
}

static int run_broken(void)
{
	struct crash_stats stats = { 0 };
	g_autofree char *failure = NULL;

	if (!break_rule()) {
		fprintf(stderr, "crash: this build cannot break %s\n", options.broken);
		return EXIT_SKIPPED;
	}
	failure = run_cases(&stats);
	if (failure)
		printf("%s is broken, and that was caught: %s\n", options.broken, failure);
	else
		printf("FAILED: %s is broken, and nobody noticed\n", options.broken);
	return failure ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new("- cut the power of disk images");
	g_autoptr(GError) err = NULL;

	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &err)) {
		fprintf(stderr, "crash: %s\n", err->message);
		return EXIT_FAILURE;
	}
	if (options.operation && !g_str_equal(options.operation, "none") &&
	    !structural_is_known(options.operation)) {
		fprintf(stderr, "crash: no operation %s\n", options.operation);
		return EXIT_FAILURE;
	}
	return options.broken ? run_broken() : run_whole();
}
