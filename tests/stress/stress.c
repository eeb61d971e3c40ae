// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many jobs on several loops use one image: does every sector hold what was written?
 *
 * 	stress [--seed N] [--seconds S] [--loops N] [--depth N] [SCENARIO...]
 *
 * Prints `ok NAME` or `not ok NAME` for each scenario. A seed repeats what the jobs ask for, but
 * not how the threads run.
 *
 * With --break RULE, a build with mutants breaks one of formats/qcow2/rules.h, and the test passes
 * if that is noticed.
 */
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "enum_names.h"
#include "qcow2/rules.h"
#include "scenario.h"

/* The exit status that means "skipped" to meson. */
#define EXIT_SKIPPED  77
/* For what is checked between the rounds. */
#define SPARE_SECONDS 30

static struct {
	gint64 seed;
	double seconds;
	int loops;
	int depth;
	int rounds;
	char *operation;
	char *broken;
	gboolean list;
	char **names;
} options = { .seed = 1, .seconds = 5, .loops = 4, .depth = 8, .rounds = 3 };

static const GOptionEntry option_entries[] = {
	{ "seed", 's', 0, G_OPTION_ARG_INT64, &options.seed, "The seed (1)", "N" },
	{ "seconds", 0, 0, G_OPTION_ARG_DOUBLE, &options.seconds, "Of each scenario (5)", "S" },
	{ "loops", 0, 0, G_OPTION_ARG_INT, &options.loops, "Threads with a loop each (4)", "N" },
	{ "depth", 0, 0, G_OPTION_ARG_INT, &options.depth, "Jobs per loop (8)", "N" },
	{ "rounds", 0, 0, G_OPTION_ARG_INT, &options.rounds, "Open and look so often (3)", "N" },
	{ "operation", 0, 0, G_OPTION_ARG_STRING, &options.operation,
	  "Of the structural operations only this one; or none", "NAME" },
	{ "break", 0, 0, G_OPTION_ARG_STRING, &options.broken, "Break it; pass if that is caught",
	  "RULE" },
	{ "list", 'l', 0, G_OPTION_ARG_NONE, &options.list, "Print the scenarios", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.names, NULL,
	  "[SCENARIO...]" },
	{ 0 },
};

#define QCOW2(mib, cluster, ...)                                                                   \
	{                                                                                          \
		.format = "qcow2", .size = (uint64_t)(mib) << 20, .cluster_size = (cluster),       \
		__VA_ARGS__                                                                        \
	}

#define ALL_KINDS(reckless)                                                                        \
	{                                                                                          \
		.percent_write = 40, .percent_zero = 8, .percent_discard = 10, .percent_flush = 2, \
		.min_bytes = 512, .max_bytes = 64 << 10, .percent_hot = 40,                        \
		.percent_reckless = (reckless)                                                     \
	}

#define COMPRESSED(reckless)                                                                       \
	{                                                                                          \
		.percent_write = 50, .percent_compressed = 60, .percent_zero = 8,                  \
		.percent_discard = 10, .percent_flush = 2, .min_bytes = 512,                       \
		.max_bytes = 64 << 10, .percent_hot = 40, .percent_reckless = (reckless)           \
	}

#define COMPRESSED_REUSE                                                                           \
	{                                                                                          \
		.percent_write = 45, .percent_compressed = 6, .percent_zero = 10,                  \
		.percent_discard = 20, .percent_flush = 15, .min_bytes = 512,                      \
		.max_bytes = 64 << 10, .percent_hot = 50, .percent_reckless = 50                   \
	}

#define GROWING                                                                                    \
	{                                                                                          \
		.percent_write = 70, .percent_zero = 4, .percent_discard = 6, .percent_flush = 4,  \
		.min_bytes = 4096, .max_bytes = 128 << 10, .percent_in_order = 60                  \
	}

static const struct scenario scenarios[] = {
	{
		.name = "raw",
		.spec = { .format = "raw", .size = 8 << 20 },
		.disk = DISK_IN_MEMORY,
		.mix = ALL_KINDS(30),
	},
	{
		/* What a node with sectors of 4096 bytes must merge. */
		.name = "raw-unaligned",
		.spec = { .format = "raw", .size = 4 << 20 },
		.disk = DISK_IN_MEMORY,
		.alignment = 4096,
		.mix = ALL_KINDS(30),
	},
	{
		.name = "default-clusters",
		.spec = QCOW2(64, 65536),
		.disk = DISK_IN_MEMORY,
		.unmap = true,
		.mix = ALL_KINDS(30),
	},
	{
		/*
		 * Neighbours in a cluster belong to different threads while the cluster is copied
		 * up.
		 */
		.name = "copy-on-write",
		.spec = QCOW2(64, 65536, .backing = BACKING_RAW),
		.disk = DISK_IN_MEMORY,
		.mix = { .percent_write = 60,
			 .percent_flush = 1,
			 .min_bytes = 512,
			 .max_bytes = 8192,
			 .percent_hot = 20 },
	},
	{
		/* Metadata many times larger than the cache. */
		.name = "tiny-cache",
		.spec = QCOW2(32, 512, .refcount_bits = 64, .backing = BACKING_QCOW2,
			      .percent_filled = 30),
		.disk = DISK_IN_MEMORY,
		.cache_bytes = 1,
		.mix = ALL_KINDS(30),
	},
	{
		/* Jobs write to subclusters of a cluster while others fill its neighbours. */
		.name = "subclusters",
		.spec = QCOW2(16, 16384, .extended_l2 = true, .backing = BACKING_RAW,
			      .percent_filled = 20, .compressed = true),
		.disk = DISK_IN_MEMORY,
		.cache_bytes = 1,
		.unmap = true,
		.mix = { .percent_write = 50,
			 .percent_zero = 10,
			 .percent_discard = 10,
			 .percent_flush = 2,
			 .min_bytes = 512,
			 .max_bytes = 16 << 10,
			 .percent_hot = 60,
			 .percent_reckless = 30 },
	},
	{
		.name = "subclusters-large",
		.spec = QCOW2(32, 2 << 20, .extended_l2 = true, .backing = BACKING_SHORT),
		.disk = DISK_FILE,
		.unmap = true,
		.mix = ALL_KINDS(0),
	},
	{
		.name = "data-file",
		.spec = QCOW2(32, 65536, .data_file = true, .backing = BACKING_RAW,
			      .percent_filled = 20),
		.disk = DISK_FILE,
		.unmap = true,
		.mix = ALL_KINDS(30),
	},
	{
		.name = "data-file-raw",
		.spec = QCOW2(32, 65536, .data_file = true, .data_file_raw = true,
			      .extended_l2 = true),
		.disk = DISK_DIRECT,
		.cache_bytes = 16 << 10,
		.unmap = true,
		.mix = ALL_KINDS(30),
	},
	{
		.name = "compressed",
		.spec = QCOW2(32, 4096, .backing = BACKING_SHORT, .percent_filled = 60,
			      .compressed = true),
		.disk = DISK_IN_MEMORY,
		.cache_bytes = 32 << 10,
		.alignment = 512,
		.unmap = true,
		.mix = ALL_KINDS(30),
	},
	{
		/* Many of them share a cluster, a sector, and what the disk writes in one piece. */
		.name = "compressed-writes",
		.spec = QCOW2(2, 4096, .refcount_bits = 4, .backing = BACKING_RAW,
			      .percent_filled = 20),
		.disk = DISK_IN_MEMORY,
		.alignment = 4096,
		.unmap = true,
		.mix = COMPRESSED(30),
	},
	{
		/* Data has hardly been packed when its cluster is free again, and reused ... */
		.name = "compressed-reuse",
		.spec = QCOW2(1, 4096),
		.disk = DISK_IN_MEMORY,
		.mix = COMPRESSED_REUSE,
	},
	{
		/* ... or punched out of the file. */
		.name = "compressed-punched",
		.spec = QCOW2(1, 4096),
		.disk = DISK_IN_MEMORY,
		.unmap = true,
		.mix = COMPRESSED_REUSE,
	},
	{
		.name = "compressed-buffered",
		.spec = QCOW2(64, 65536, .compression = "zstd"),
		.disk = DISK_FILE,
		.unmap = true,
		.mix = COMPRESSED(0),
	},
	{
		.name = "compressed-direct",
		.spec = QCOW2(4, 512, .backing = BACKING_SHORT),
		.disk = DISK_DIRECT,
		.mix = COMPRESSED(0),
	},
	{
		.name = "one-bit-refcounts",
		.spec = QCOW2(16, 1024, .refcount_bits = 1),
		.disk = DISK_IN_MEMORY,
		.mix = ALL_KINDS(30),
	},
	{
		.name = "version-2",
		.spec = QCOW2(16, 4096, .compat = 2, .backing = BACKING_RAW),
		.disk = DISK_IN_MEMORY,
		.alignment = 4096,
		.mix = ALL_KINDS(30),
	},
	{
		/* Little else than freeing clusters and reusing them. */
		.name = "reuse",
		.spec = QCOW2(2, 4096),
		.disk = DISK_IN_MEMORY,
		.unmap = true,
		.mix = { .percent_write = 40,
			 .percent_zero = 15,
			 .percent_discard = 25,
			 .percent_flush = 5,
			 .min_bytes = 512,
			 .max_bytes = 64 << 10,
			 .percent_reckless = 80,
			 .percent_hot = 30 },
	},
	{
		/* Much is freed at once, beside late flushes and reads. */
		.name = "discards",
		.spec = QCOW2(8, 4096),
		.disk = DISK_IN_MEMORY,
		.unmap = true,
		.mix = { .percent_write = 30,
			 .percent_discard = 30,
			 .percent_flush = 15,
			 .min_bytes = 4096,
			 .max_bytes = 512 << 10,
			 .percent_reckless = 80 },
	},
	{
		/*
		 * Overlays with existing L2 tables have lost data in other multi-queue
		 * implementations: many jobs, 4k to 64k mixed.
		 */
		.name = "populated-overlay",
		.spec = QCOW2(256, 65536, .backing = BACKING_RAW, .percent_filled = 30),
		.disk = DISK_FILE,
		.mix = { .percent_write = 60,
			 .percent_flush = 1,
			 .min_bytes = 4096,
			 .max_bytes = 64 << 10,
			 .percent_hot = 5 },
	},
	{
		/* The same with a cache of two slices: each look at a table may go to the disk. */
		.name = "populated-overlay-cold",
		.spec = QCOW2(64, 4096, .backing = BACKING_RAW, .percent_filled = 30),
		.disk = DISK_IN_MEMORY,
		.cache_bytes = 1,
		.mix = { .percent_write = 60,
			 .percent_flush = 1,
			 .min_bytes = 4096,
			 .max_bytes = 64 << 10,
			 .percent_hot = 5 },
	},
	{
		.name = "small-clusters",
		.spec = QCOW2(32, 4096, .backing = BACKING_SHORT, .percent_filled = 20),
		.disk = DISK_FILE,
		.unmap = true,
		.cache_bytes = 32 << 10,
		.mix = ALL_KINDS(0),
	},
	{
		.name = "direct",
		.spec = QCOW2(128, 65536, .backing = BACKING_QCOW2, .percent_filled = 20,
			      .compressed = true),
		.disk = DISK_DIRECT,
		.cache_bytes = 16 << 10,
		.unmap = true,
		.mix = ALL_KINDS(0),
	},
	{
		/*
		 * New clusters, scattered and in order, while steps extend the file under them,
		 * beside all that cuts it off or punches holes.
		 */
		.name = "grow-ahead-direct",
		.spec = QCOW2(512, 65536),
		.disk = DISK_DIRECT,
		.unmap = true,
		.grows_ahead = true,
		.mix = GROWING,
	},
	{
		.name = "grow-ahead-buffered",
		.spec = QCOW2(256, 4096, .backing = BACKING_SHORT),
		.disk = DISK_FILE,
		.unmap = true,
		.grows_ahead = true,
		.mix = GROWING,
	},
	{
		/*
		 * Most lookups go by summaries of slices. Requests are as long as what a slice
		 * maps, so that many slices become runs of clusters again.
		 */
		.name = "summaries",
		.spec = QCOW2(4, 512, .percent_filled = 100),
		.disk = DISK_IN_MEMORY,
		.cache_bytes = 24 << 10,
		.unmap = true,
		.mix = { .percent_write = 30,
			 .percent_zero = 5,
			 .percent_discard = 8,
			 .percent_flush = 5,
			 .min_bytes = 32 << 10,
			 .max_bytes = 64 << 10,
			 .percent_hot = 40,
			 .percent_reckless = 30 },
	},
	{
		/* Tables of 16 slices each, of which some are runs and others are not. */
		.name = "summaries-8k",
		.spec = QCOW2(32, 8192, .percent_filled = 100),
		.disk = DISK_FILE,
		.cache_bytes = 12 << 10,
		.slice_bytes = 512,
		.unmap = true,
		.mix = { .percent_write = 25,
			 .percent_zero = 3,
			 .percent_discard = 6,
			 .percent_flush = 5,
			 .min_bytes = 4 << 10,
			 .max_bytes = 512 << 10,
			 .percent_hot = 30,
			 .percent_reckless = 30 },
	},
	{
		.name = "large-clusters",
		.spec = QCOW2(128, 2 << 20, .backing = BACKING_RAW),
		.disk = DISK_FILE,
		.mix = ALL_KINDS(0),
	},
};

static bool is_wanted(const struct scenario *scenario)
{
	return !options.names ||
	       g_strv_contains((const char *const *)options.names, scenario->name);
}

/* Whether it passed. */
static bool run_one(const struct scenario *listed)
{
	struct scenario scenario = *listed;
	g_autofree char *spec = image_spec_describe(&scenario.spec);
	g_autofree char *failure = NULL;
	uint64_t requests, operations;

	scenario.operation = options.operation;
	scenario.seed = options.seed;
	scenario.loops = options.loops;
	scenario.depth = options.depth;
	scenario.rounds = options.rounds;
	scenario.seconds = options.seconds;
	scenario.broken = options.broken;
	failure = scenario_run(&scenario, &requests, &operations);
	if (failure)
		printf("%s\n", failure);
	printf("%s %s (seed %" G_GUINT64_FORMAT ", %s, %" G_GUINT64_FORMAT
	       " requests, %" G_GUINT64_FORMAT " structural operations)\n",
	       failure ? (options.broken ? "caught by" : "not ok") : "ok", scenario.name,
	       scenario.seed, spec, requests, operations);
	fflush(stdout);
	return !failure;
}

/* How many of the given names are not scenarios. */
static unsigned count_unknown(void)
{
	unsigned unknown = 0;

	for (char **name = options.names; name && *name; name++) {
		bool found = false;

		for (unsigned i = 0; i < G_N_ELEMENTS(scenarios); i++)
			found |= g_str_equal(*name, scenarios[i].name);
		if (!found)
			fprintf(stderr, "stress: no scenario %s\n", *name);
		unknown += !found;
	}
	return unknown;
}

static int run_wanted(void)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(scenarios); i++) {
		if (is_wanted(&scenarios[i]))
			failed += !run_one(&scenarios[i]);
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#ifdef UBD_MUTANTS
static const struct enum_name rules[] = {
	{ "summary-first", RULE_SUMMARY_FIRST },
	{ "summary-cleared", RULE_SUMMARY_CLEARED },
	{ "summary-forgotten", RULE_SUMMARY_FORGOTTEN },
	{},
};
#endif

static bool break_rule(void)
{
#ifdef UBD_MUTANTS
	uint64_t rule;

	if (enum_from_name(rules, options.broken, &rule)) {
		qcow2_broken_rule = rule;
		return true;
	}
#endif
	return false;
}

static void note_endless(int number)
{
	static const char text[] = "caught: requests go round in circles\n";
	ssize_t written = write(STDOUT_FILENO, text, strlen(text));

	_exit(written < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/*
 * A mutant may also have requests that never end. They are recognised by more CPU time than there
 * is in the time of the test; how busy the machine is does not count.
 */
static void watch_for_endless(void)
{
	const struct itimerval limit = {
		.it_value.tv_sec = options.seconds * sysconf(_SC_NPROCESSORS_ONLN) + SPARE_SECONDS,
	};

	signal(SIGPROF, note_endless);
	setitimer(ITIMER_PROF, &limit, NULL);
}

static int run_broken(void)
{
	int status;

	if (!break_rule()) {
		fprintf(stderr, "stress: this build cannot break %s\n", options.broken);
		return EXIT_SKIPPED;
	}
	watch_for_endless();
	status = run_wanted();
	if (status == EXIT_SUCCESS)
		printf("FAILED: %s is broken, and nobody noticed\n", options.broken);
	return status == EXIT_SUCCESS ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context =
		g_option_context_new("- use disk images from many sides");
	g_autoptr(GError) err = NULL;

	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &err)) {
		fprintf(stderr, "stress: %s\n", err->message);
		return EXIT_FAILURE;
	}
	if (options.operation && !g_str_equal(options.operation, "none") &&
	    !structural_is_known(options.operation)) {
		fprintf(stderr, "stress: no operation %s\n", options.operation);
		return EXIT_FAILURE;
	}
	if (options.loops < 1 || options.depth < 1 || options.rounds < 1 || count_unknown())
		return EXIT_FAILURE;
	if (options.list) {
		for (unsigned i = 0; i < G_N_ELEMENTS(scenarios); i++)
			printf("%s\n", scenarios[i].name);
		return EXIT_SUCCESS;
	}
	return options.broken ? run_broken() : run_wanted();
}
