// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every call below the files of a chain goes wrong once during commit and rebase, or is the last
 * one of the process: does the top of the chain always read the same?
 *
 *	faults-chain [--seed N] [--seeds COUNT] [--max-runs N] [JOB...]
 *
 * A job is run without a fault first, to count its calls; then with each kind of fault at each
 * call, once and from then on; then, as a process of its own, it is killed at each call. Prints `ok
 * JOB` or `not ok JOB` for each.
 */
#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "chain.h"
#include "crew.h"
#include "image_chain.h"
#include "inject.h"
#include "scratch.h"
#include "watchdog.h"

static struct {
	gint64 seed;
	int seeds;
	int max_runs;
	char *folder; /* the process that is to be killed */
	int kill_at;
	char **jobs;
} options = { .seed = 1, .seeds = 3, .max_runs = 40 };

static const GOptionEntry option_entries[] = {
	{ "seed", 's', 0, G_OPTION_ARG_INT64, &options.seed, "The first seed (1)", "N" },
	{ "seeds", 0, 0, G_OPTION_ARG_INT, &options.seeds, "Chains for each job (3)", "COUNT" },
	{ "max-runs", 0, 0, G_OPTION_ARG_INT, &options.max_runs,
	  "With more, some are skipped, evenly (40 for each chain; 0: no limit)", "N" },
	{ "folder", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_FILENAME, &options.folder, NULL, NULL },
	{ "kill-at", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_INT, &options.kill_at, NULL, NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.jobs, NULL, "[JOB...]" },
	{ 0 },
};

static const char *const file_names[] = { "top", "top.data", "mid", "base" };

/* A chain that each run begins with. */
struct stage {
	struct chain_spec spec;
	char *folder;
	GBytes *files[G_N_ELEMENTS(file_names)]; /* NULL: there is none */
	uint8_t *expected;
};

struct run {
	struct stage *stage;
	enum fault_kind kind;
	unsigned at;
	bool lasting;
	unsigned calls;
	int ret;
	char *failure;
};

/* ---- files ---- */

static void save_files(struct stage *stage)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(file_names); i++) {
		g_autofree char *filename = scratch_file(stage->folder, file_names[i]);
		char *contents;
		gsize bytes;

		if (g_file_get_contents(filename, &contents, &bytes, NULL))
			stage->files[i] = g_bytes_new_take(contents, bytes);
	}
}

static void restore_files(const struct stage *stage)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(file_names); i++) {
		g_autofree char *filename = scratch_file(stage->folder, file_names[i]);
		g_autoptr(GError) err = NULL;

		if (stage->files[i] &&
		    !g_file_set_contents_full(filename, g_bytes_get_data(stage->files[i], NULL),
					      g_bytes_get_size(stage->files[i]),
					      G_FILE_SET_CONTENTS_NONE, 0600, &err))
			g_error("%s", err->message);
	}
}

/* ---- the job ---- */

static int co_open(const struct stage *stage, const char *name, unsigned flags,
		   struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .format = "qcow2", .flags = flags };
	g_autofree char *filename = scratch_file(stage->folder, name);

	return image_co_open(filename, &opts, ret_img, err);
}

static int co_perform(const struct stage *stage, struct image *top, GError **err)
{
	const struct chain_spec *spec = &stage->spec;
	struct image_open_opts opts = { .flags = IMAGE_RDWR | IMAGE_UNMAP };
	struct image *layer = chain_layer_above(spec, top), *new = NULL;
	int ret = 0;

	if (!chain_job_is_rebase(spec->job))
		ret = image_co_reopen_backing(top, layer, &opts, err);
	else if (spec->job != CHAIN_FLATTEN)
		ret = co_open(stage, "new", 0, &new, err);
	ret = ret ?: chain_co_perform(spec, top, layer, new, err);
	image_co_close(new);
	return ret;
}

static int co_do(const struct stage *stage, GError **err)
{
	struct image *top;
	int ret = co_open(stage, "top", IMAGE_RDWR | IMAGE_UNMAP, &top, err), close_ret;

	if (ret)
		return ret;
	ret = co_perform(stage, top, err);
	close_ret = image_co_close(top);
	return ret ?: close_ret;
}

/* ---- looking at it ---- */

/* @whole: the job was done. */
static char *co_look(const struct stage *stage, bool leaks_allowed, bool whole)
{
	g_autoptr(GError) err = NULL;
	struct image *top;
	char *failure;

	if (co_open(stage, "top", 0, &top, &err))
		return g_strdup_printf("the chain does not open: %s", err->message);
	failure = chain_co_compare(top, stage->expected);
	for (struct image *layer = top; layer && !failure; layer = image_backing(layer))
		failure = chain_co_check(layer, leaks_allowed);
	if (!failure && whole)
		failure = chain_co_check_done(&stage->spec, top);
	image_co_close(top);
	return failure;
}

static char *describe(const struct run *run, const char *what)
{
	g_autofree char *spec = chain_spec_describe(&run->stage->spec);

	return g_strdup_printf("%s\n  %s:%u%s: %s", spec, fault_names[run->kind], run->at,
			       run->lasting ? "+" : "", what);
}

static void run_co(void *arg)
{
	struct run *run = arg;
	g_autoptr(GError) err = NULL;
	g_autofree char *wrong = NULL;
	bool hit;

	restore_files(run->stage);
	inject_start(run->kind, run->at, run->lasting);
	run->ret = co_do(run->stage, &err);
	run->calls = inject_calls();
	hit = inject_hits();
	inject_stop();
	inject_take_sync();
	if (run->ret && (fault_must_be_hidden(run->kind) || !hit))
		wrong = g_strdup_printf("the job failed: %s", err ? err->message : "close");
	else
		wrong = co_look(run->stage, hit, !run->ret);
	if (wrong)
		run->failure = describe(run, wrong);
	watchdog_kick();
}

/* ---- campaigns ---- */

static char *run_faults(struct crew *crew, struct stage *stage, unsigned *ret_calls, unsigned *runs)
{
	struct run run = { .stage = stage };
	unsigned number = 0, every;

	crew_run_co(crew, run_co, &run);
	*ret_calls = run.calls;
	every = 1 + 2 * run.calls * (FAULT_KILL - 1) / (options.max_runs ?: INT_MAX);
	for (unsigned kind = FAULT_NONE + 1; kind < FAULT_KILL; kind++) {
		for (unsigned i = 0; i < 2 * *ret_calls && !run.failure; i++) {
			/* An interruption that lasts would never end. */
			if ((kind == FAULT_INTR && i % 2) || number++ % every)
				continue;
			run = (struct run){ .stage = stage, kind, i / 2 + 1, i % 2 };
			crew_run_co(crew, run_co, &run);
			(*runs)++;
		}
	}
	return run.failure;
}

/* The job in a process that dies at a call; whether it did. */
static bool die_at(const struct stage *stage, unsigned at)
{
	g_autofree char *seed = g_strdup_printf("--seed=%" G_GUINT64_FORMAT, stage->spec.seed);
	g_autofree char *folder = g_strdup_printf("--folder=%s", stage->folder);
	g_autofree char *kill_at = g_strdup_printf("--kill-at=%u", at);
	char *argv[] = { "/proc/self/exe",
			 seed,
			 folder,
			 kill_at,
			 (char *)chain_job_names[stage->spec.job],
			 NULL };
	g_autoptr(GError) err = NULL;
	int status;

	if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, NULL, &status, &err))
		g_error("%s", err->message);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The requests of a process that was killed hold its files, with their locks, until they end. */
static void co_wait_for_locks(const struct stage *stage)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(file_names); i++) {
		g_autofree char *filename = scratch_file(stage->folder, file_names[i]);
		struct image *file = NULL;

		while (stage->files[i] &&
		       image_co_open_bottom(filename, IMAGE_RDWR, &file, NULL) == -EBUSY)
			co_sleep_ns(1000000);
		image_co_close(file);
	}
}

static void look_after_kill_co(void *arg)
{
	struct run *run = arg;
	g_autofree char *wrong = NULL;

	co_wait_for_locks(run->stage);
	wrong = co_look(run->stage, true, false);

	if (wrong)
		run->failure = describe(run, wrong);
	watchdog_kick();
}

static char *run_kills(struct crew *crew, struct stage *stage, unsigned calls, unsigned *runs)
{
	struct run run = { .stage = stage, .kind = FAULT_KILL };
	unsigned every = 1 + calls / (options.max_runs ?: INT_MAX);

	for (run.at = 1; run.at <= calls && !run.failure; run.at += every) {
		restore_files(stage);
		/* The number of calls depends a little on which of them end first. */
		if (!die_at(stage, run.at))
			return run.at == 1 ? describe(&run, "it was not killed") : NULL;
		crew_run_co(crew, look_after_kill_co, &run);
		(*runs)++;
	}
	return run.failure;
}

static void make_co(void *arg)
{
	struct stage *stage = arg;
	g_autoptr(GError) err = NULL;
	char *failure = NULL;
	struct image *top;

	inject_pause(true);
	chain_co_make(&stage->spec, stage->folder);
	if (co_open(stage, "top", 0, &top, &err))
		g_error("%s", err->message);
	stage->expected = chain_co_read(top, &failure);
	if (failure)
		g_error("%s", failure);
	image_co_close(top);
}

static char *run_stage(struct crew *crew, enum chain_job job, uint64_t seed, unsigned *runs)
{
	struct stage stage = { .spec = chain_spec_draw(job, seed), .folder = scratch_new() };
	unsigned calls;
	char *failure;

	crew_run_co(crew, make_co, &stage);
	save_files(&stage);
	failure = run_faults(crew, &stage, &calls, runs) ?: run_kills(crew, &stage, calls, runs);
	for (unsigned i = 0; i < G_N_ELEMENTS(file_names); i++)
		g_clear_pointer(&stage.files[i], g_bytes_unref);
	g_free(stage.expected);
	scratch_remove(stage.folder);
	g_free(stage.folder);
	return failure;
}

/* Whether it passed. */
static bool run_job(struct crew *crew, enum chain_job job)
{
	g_autofree char *failure = NULL;
	unsigned runs = 0;

	watchdog_start(chain_job_names[job], SECONDS_TO_HANG, NULL, NULL);
	for (int i = 0; i < options.seeds && !failure; i++)
		failure = run_stage(crew, job, options.seed + i, &runs);
	watchdog_stop();
	if (failure)
		printf("%s\n", failure);
	printf("%s %s (%u runs)\n", failure ? "not ok" : "ok", chain_job_names[job], runs);
	fflush(stdout);
	return !failure;
}

/* ---- the process that is killed ---- */

static void victim_co(void *arg)
{
	const struct stage *stage = arg;

	inject_start(FAULT_KILL, options.kill_at, false);
	co_do(stage, NULL);
}

static bool is_wanted(enum chain_job job)
{
	return !options.jobs ||
	       g_strv_contains((const char *const *)options.jobs, chain_job_names[job]);
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context =
		g_option_context_new("- fail each call during commit and rebase");
	g_autoptr(GError) err = NULL;
	bool passed = true;
	struct crew *crew;

	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &err)) {
		fprintf(stderr, "faults-chain: %s\n", err->message);
		return EXIT_FAILURE;
	}
	crew = crew_new(1);
	for (enum chain_job job = 0; job < NR_CHAIN_JOBS; job++) {
		struct stage stage = {
			.spec = chain_spec_draw(job, options.seed),
			.folder = options.folder,
		};

		if (!is_wanted(job))
			continue;
		if (options.folder)
			crew_run_co(crew, victim_co, &stage);
		else
			passed &= run_job(crew, job);
	}
	crew_free(crew);
	return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
