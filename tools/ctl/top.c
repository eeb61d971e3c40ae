// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl top: what all servers do, again and again. Each time all are asked at once; those that
 * have gone are left out, and new ones have numbers from the second time on.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "servers.h"
#include "subject.h"
#include "tool.h"
#include "top.h"

#define NS_PER_S 1e9

struct top {
	GPtrArray *names;   /* of the devices and exports to show; NULL: all */
	GHashTable *before; /* what servers had last time */
	GPtrArray *rows;
	gint64 delay_us;
	int rounds; /* left; < 0: any number */
	bool is_batch;
};

static void free_row(gpointer data)
{
	struct top_row *row = data;

	g_free(row->device);
	g_free(row->image);
	g_free(row);
}

/* ---- what servers tell ---- */

static bool is_wanted(const struct top *top, const struct server *server)
{
	return !top->names ||
	       g_ptr_array_find_with_equal_func(top->names, server_name(server), g_str_equal, NULL);
}

/* Another server of the same disk counts anew. */
static char *key_of(const struct server *server)
{
	return g_strdup_printf("%d %s", server_pid(server), server_name(server));
}

static struct top_row *new_row(const struct top *top, const struct server *server)
{
	g_autofree char *key = key_of(server);
	const struct disk_stats *before = g_hash_table_lookup(top->before, key);
	struct top_row *row = g_new0(struct top_row, 1);

	row->device = ctl_printable(server_name(server));
	row->image = server_image(server);
	disk_stats_parse(server->status, &row->stats);
	if (!before || row->stats.time_ns <= before->time_ns)
		return row;
	row->since = disk_stats_since(&row->stats, before);
	row->seconds = (row->stats.time_ns - before->time_ns) / NS_PER_S;
	return row;
}

/* If all are shown: which disks it has is not known. */
static void add_hanging(struct top *top, const GArray *asked)
{
	for (unsigned i = 0; i < asked->len && !top->names; i++) {
		const struct asked_server *server = &g_array_index(asked, struct asked_server, i);
		struct top_row *row;

		if (server->is_up)
			continue;
		row = g_new0(struct top_row, 1);
		row->device = g_strdup_printf("server %d", server->pid);
		row->image = g_strdup("(does not respond)");
		g_ptr_array_add(top->rows, row);
	}
}

static void look(struct top *top)
{
	/* Warnings would be written over the table. */
	g_autoptr(GArray) asked = g_array_new(FALSE, FALSE, sizeof(struct asked_server));
	g_autoptr(GPtrArray) servers = servers_ask("stats", asked);
	GHashTable *now = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

	g_ptr_array_set_size(top->rows, 0);
	for (unsigned i = 0; i < servers->len; i++) {
		const struct server *server = servers->pdata[i];
		struct top_row *row;

		if (!is_wanted(top, server))
			continue;
		row = new_row(top, server);
		g_ptr_array_add(top->rows, row);
		g_hash_table_insert(now, key_of(server),
				    g_memdup2(&row->stats, sizeof(row->stats)));
	}
	g_ptr_array_sort(top->rows, top_compare);
	add_hanging(top, asked);
	g_hash_table_unref(top->before);
	top->before = now;
}

/* ---- what is shown ---- */

/* False: nobody can see it. */
static bool show(const struct top *top)
{
	unsigned width, height, max_rows;
	g_autofree char *table = NULL, *text = NULL;

	top_screen_size(&width, &height);
	/* On a terminal the last line stays empty, so that nothing scrolls. */
	max_rows = top->is_batch ? G_MAXUINT : MAX(height, 3) - 2;
	table = top_table(top->rows, max_rows, width);
	text = top->is_batch ? g_strconcat(table, "\n", NULL) : g_steal_pointer(&table);
	return top_screen_show(text);
}

/* False: the user has seen enough, or sees nothing. */
static bool wait_for_next(const struct top *top, gint64 end_us)
{
	enum top_event event;

	while ((event = top_screen_wait(end_us)) == TOP_REDRAW)
		if (!top->is_batch && !show(top))
			return false;
	return event != TOP_QUIT;
}

/*
 * In a batch, the first look is only for the differences to it. What failed to be written is for
 * tool_finish() to tell.
 */
static void run(struct top *top)
{
	gint64 next_us = g_get_monotonic_time();

	look(top);
	if (!top->is_batch && !show(top))
		return;
	while (top->rounds) {
		next_us = MAX(next_us + top->delay_us, g_get_monotonic_time());
		if (!wait_for_next(top, next_us))
			return;
		look(top);
		if (!show(top))
			return;
		if (top->rounds > 0)
			top->rounds--;
	}
}

/* ---- the command ---- */

static bool find_names(struct top *top, char **words)
{
	if (!words)
		return true;
	top->names = g_ptr_array_new_with_free_func(g_free);
	for (; *words; words++) {
		char *name = subject_find(*words);

		if (!name)
			return false;
		g_ptr_array_add(top->names, name);
	}
	return true;
}

static bool take_delay(struct top *top, double seconds)
{
	/* Also NaN is not. */
	if (!(seconds >= 0.1 && seconds <= 86400)) {
		tool_error("--delay: must be between 0.1 and 86400 seconds");
		return false;
	}
	top->delay_us = seconds * G_USEC_PER_SEC;
	return true;
}

static bool take_rounds(struct top *top, int rounds, bool is_given)
{
	top->rounds = is_given ? rounds : -1;
	if (!is_given || rounds >= 1)
		return true;
	tool_error("--iterations: must be at least 1");
	return false;
}

int ctl_top(const struct command *command, char **argv)
{
	struct top top = { 0 };
	gboolean is_batch = FALSE;
	double delay = 1;
	int rounds = G_MININT;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ "batch", 'b', 0, G_OPTION_ARG_NONE, &is_batch,
		  "Print one table after another, for scripts", NULL },
		{ "delay", 'd', 0, G_OPTION_ARG_DOUBLE, &delay, "Time between updates (default: 1)",
		  "SECONDS" },
		{ "iterations", 'n', 0, G_OPTION_ARG_INT, &rounds,
		  "Exit after N updates (default: never)", "N" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "[DEVICE...]" },
		{},
	};
	bool ok;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	top.is_batch = is_batch;
	ok = take_delay(&top, delay) && take_rounds(&top, rounds, rounds != G_MININT) &&
	     find_names(&top, words) && top_screen_begin(top.is_batch);
	if (ok) {
		top.rows = g_ptr_array_new_with_free_func(free_row);
		top.before = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
		run(&top);
		top_screen_end();
		g_hash_table_unref(top.before);
		g_ptr_array_unref(top.rows);
	}
	if (top.names)
		g_ptr_array_unref(top.names);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
