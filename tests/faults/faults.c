// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every call below the file node goes wrong once: does the image survive it?
 *
 * 	faults [--every N] [--max-runs N] [--qemu-img N] [SCENARIO...]
 *
 * A scenario is run without a fault first, to count its calls; then with each kind of fault at each
 * call, once and from then on. Prints `ok NAME` or `not ok NAME` for each scenario; what a failure
 * prints repeats it: --only KIND:AT[+] (+: from then on).
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "scenario.h"
#include "table.h"
#include "watchdog.h"

static struct {
	int every;
	int by_qemu_img;
	int max_runs;
	char *only;
	gboolean list;
	char **names;
} options = { .every = 1, .by_qemu_img = 50, .max_runs = 150 };

static const GOptionEntry option_entries[] = {
	{ "every", 0, 0, G_OPTION_ARG_INT, &options.every, "Only each Nth fault (1)", "N" },
	{ "max-runs", 0, 0, G_OPTION_ARG_INT, &options.max_runs,
	  "Scenarios with more skip some, evenly (150; 0: no limit)", "N" },
	{ "qemu-img", 0, 0, G_OPTION_ARG_INT, &options.by_qemu_img,
	  "Each Nth file is looked at by qemu-img too (50)", "N" },
	{ "only", 0, 0, G_OPTION_ARG_STRING, &options.only, "Only this fault", "KIND:AT[+]" },
	{ "list", 'l', 0, G_OPTION_ARG_NONE, &options.list, "Print the scenarios", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &options.names, NULL,
	  "[SCENARIO...]" },
	{ 0 },
};

/* A scenario with all its faults. */
struct campaign {
	struct stage stage;
	struct fault fault; /* the present one */
	unsigned calls;
	unsigned runs;
	char *failure;
};

static char *fault_describe(const struct fault *fault)
{
	return g_strdup_printf("%s:%u%s", fault_names[fault->kind], fault->at,
			       fault->lasting ? "+" : "");
}

static void dump(void *arg)
{
	struct campaign *campaign = arg;
	g_autofree char *fault = fault_describe(&campaign->fault);

	fprintf(stderr, "%s --only %s\n", campaign->stage.scenario->name, fault);
}

static void co_run_once(struct campaign *campaign)
{
	bool by_qemu_img = options.only || campaign->runs % options.by_qemu_img == 0;
	g_autofree char *fault = fault_describe(&campaign->fault);
	g_autofree char *failure = NULL;
	unsigned calls;

	if (options.only && campaign->fault.kind && !g_str_equal(options.only, fault))
		return;
	failure = stage_co_run(&campaign->stage, &campaign->fault, by_qemu_img, &calls);
	campaign->runs++;
	if (failure)
		campaign->failure = g_strdup_printf("%s --only %s: %s",
						    campaign->stage.scenario->name, fault, failure);
	if (!campaign->fault.kind)
		campaign->calls = calls;
	watchdog_kick();
}

/* Each kind, once and lasting, at each call. */
static unsigned runs_at_most(unsigned calls)
{
	return calls * 2 * (FAULT_KILL - 1);
}

static void campaign_co(void *arg)
{
	struct campaign *campaign = arg;
	unsigned number = 0, every;

	co_run_once(campaign);
	every = options.every + runs_at_most(campaign->calls) / (options.max_runs ?: INT_MAX);
	for (unsigned kind = FAULT_NONE + 1; kind < FAULT_KILL; kind++) {
		for (unsigned i = 0; i < 2 * campaign->calls && !campaign->failure; i++) {
			/* An interruption that lasts would never end. */
			if ((kind == FAULT_INTR && i % 2) || number++ % every)
				continue;
			campaign->fault = (struct fault){ kind, i / 2 + 1, i % 2 };
			co_run_once(campaign);
		}
	}
}

/* Whether it passed. */
static bool run_scenario(struct crew *crew, const struct scenario *scenario)
{
	struct campaign campaign = { 0 };

	stage_init(&campaign.stage, scenario);
	watchdog_start(scenario->name, SECONDS_TO_HANG, dump, &campaign);
	crew_run_co(crew, campaign_co, &campaign);
	watchdog_stop();
	stage_destroy(&campaign.stage);
	if (campaign.failure)
		printf("%s\n", campaign.failure);
	printf("%s %s (%u calls, %u runs)\n", campaign.failure ? "not ok" : "ok", scenario->name,
	       campaign.calls, campaign.runs);
	fflush(stdout);
	g_free(campaign.failure);
	return !campaign.failure;
}

static bool is_wanted(const struct scenario *scenario)
{
	return !options.names ||
	       g_strv_contains((const char *const *)options.names, scenario->name);
}

static int run_wanted(GPtrArray *scenarios)
{
	struct crew *crew = crew_new(1);
	unsigned wanted = 0, failed = 0;

	for (unsigned i = 0; i < scenarios->len; i++) {
		if (!is_wanted(scenarios->pdata[i]))
			continue;
		wanted++;
		failed += !run_scenario(crew, scenarios->pdata[i]);
	}
	crew_free(crew);
	if (options.names && wanted != g_strv_length(options.names)) {
		fprintf(stderr, "faults: no such scenario, see --list\n");
		return EXIT_FAILURE;
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context =
		g_option_context_new("- fail each call below disk images");
	g_autoptr(GPtrArray) scenarios = NULL;
	g_autoptr(GError) err = NULL;

	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &err)) {
		fprintf(stderr, "faults: %s\n", err->message);
		return EXIT_FAILURE;
	}
	if (options.every < 1 || options.by_qemu_img < 1)
		return EXIT_FAILURE;
	scenarios = table_of_scenarios();
	for (unsigned i = 0; options.list && i < scenarios->len; i++)
		printf("%s\n", ((struct scenario *)scenarios->pdata[i])->name);
	return options.list ? EXIT_SUCCESS : run_wanted(scenarios);
}
