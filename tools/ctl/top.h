/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files top*.c share; private to them. */
#ifndef UBD_CTL_TOP_H
#define UBD_CTL_TOP_H

#include <glib.h>
#include <stdbool.h>

#include "disk_stats.h"

/* ---- top_table.c ---- */

/* A line of the table. */
struct top_row {
	char *device, *image; /* as they can be printed */
	struct disk_stats stats;
	/* What was done in the last @seconds; 0: not known, because the server is new. */
	struct disk_stats since;
	double seconds;
};

/* Busiest first. */
gint top_compare(gconstpointer a, gconstpointer b);

/*
 * The table, one line for the heading and for each of the first @max_rows of struct top_row *. No
 * line is wider than @width: it lacks columns, the least important ones first. The caller frees it.
 */
char *top_table(const GPtrArray *rows, unsigned max_rows, unsigned width);

/* ---- top_screen.c ---- */

enum top_event {
	TOP_TIME_OVER,
	TOP_REDRAW, /* the size may have changed */
	TOP_QUIT,
};

/* Takes signals and, unless it is for scripts, the terminal. False after an error message. */
bool top_screen_begin(bool is_batch);
/* Gives the terminal back as it was. */
void top_screen_end(void);
/* Columns and lines; without a terminal as many as there may be. */
void top_screen_size(unsigned *ret_width, unsigned *ret_height);
/* In place of what was shown; in a batch after it. False: nobody can see it. */
bool top_screen_show(const char *text);
/* Until @end_us of g_get_monotonic_time(). */
enum top_event top_screen_wait(gint64 end_us);

#endif
