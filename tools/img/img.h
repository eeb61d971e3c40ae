/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of ubd-img, a file each, and what they share.
 *
 * A command gets its own words (argv[0] is its name), prints what is to be said, errors
 * included, and returns the exit status.
 */
#ifndef UBD_IMG_H
#define UBD_IMG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "options.h"
#include "size.h"
#include "tool.h"

int img_amend(const struct command *command, char **argv);
int img_bench(const struct command *command, char **argv);
int img_bitmap(const struct command *command, char **argv);
int img_check(const struct command *command, char **argv);
int img_convert(const struct command *command, char **argv);
int img_create(const struct command *command, char **argv);
int img_info(const struct command *command, char **argv);
int img_map(const struct command *command, char **argv);
int img_resize(const struct command *command, char **argv);
int img_snapshot(const struct command *command, char **argv);

/* ---- values.c ---- */

/* The one file that the command wants, NULL (and said so) if it is none or several. */
const char *img_only_filename(const struct command *command, char **filenames);

/*
 * Values of options; NULL leaves *ret as it is. False, and said so, for a bad
 * one; @what names it ("buffer size").
 */
bool img_parse_size(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes);
bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		      uint64_t *ret_number);
/* --output: human (also for NULL) or json. */
bool img_parse_output(const char *text, bool *ret_json);

/* ---- snapshot.c ---- */

/*
 * The snapshot that -l names, as an ID or name or by snapshot.id= and snapshot.name=; NULL
 * leaves *opts as it is. @text, and what is added to @options, must live as long as *opts.
 */
bool img_parse_snapshot(const char *text, GHashTable *options, struct image_open_opts *opts);

#endif
