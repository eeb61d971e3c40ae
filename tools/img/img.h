/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of ubd-img, one file each, and what they share.
 *
 * A command gets its words (argv[0] is its name), prints its output and errors, and returns the
 * exit status.
 */
#ifndef UBD_IMG_H
#define UBD_IMG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "command.h"
#include "options.h"
#include "tool.h"
#include "values.h"

int img_amend(const struct command *command, char **argv);
int img_bench(const struct command *command, char **argv);
int img_bitmap(const struct command *command, char **argv);
int img_check(const struct command *command, char **argv);
int img_commit(const struct command *command, char **argv);
int img_compare(const struct command *command, char **argv);
int img_convert(const struct command *command, char **argv);
int img_create(const struct command *command, char **argv);
int img_dd(const struct command *command, char **argv);
int img_info(const struct command *command, char **argv);
int img_map(const struct command *command, char **argv);
int img_measure(const struct command *command, char **argv);
int img_rebase(const struct command *command, char **argv);
int img_resize(const struct command *command, char **argv);
int img_snapshot(const struct command *command, char **argv);

/* ---- values.c ---- */

/*
 * The single file name of the command; NULL, after an error message, if there are none or several.
 */
const char *img_only_filename(const struct command *command, char **filenames);

/* The same of an image that is there, which may be described by --image-opts. */
const char *img_only_image(const struct command *command, char **filenames, bool image_opts,
			   const char *format);

/*
 * Parse values of options; NULL leaves *ret unchanged. False, after an error message, for an
 * invalid value; @what names it ("buffer size").
 */
bool img_parse_size(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes);
bool img_parse_size_from(const char *what, const char *text, uint64_t min, uint64_t max,
			 uint64_t *ret_bytes);
bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		      uint64_t *ret_number);
/* --output: human (also for NULL) or json. */
bool img_parse_output(const char *text, bool *ret_json);

/* ---- snapshot.c ---- */

/*
 * Parses the snapshot of -l: an ID or name, or snapshot.id= and snapshot.name=; NULL leaves *opts
 * unchanged. @text, and what is added to @options, must live as long as *opts.
 */
bool img_parse_snapshot(const char *text, GHashTable *options, struct image_open_opts *opts);

#endif
