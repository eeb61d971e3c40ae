/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that clients of the control socket add: checks what --allow-add permits, with or without a
 * sandbox.
 */
#ifndef UBD_ADDED_H
#define UBD_ADDED_H

#include <glib.h>

#include "options.h"

/* The result of checking an image's file. */
struct added_file {
	struct file_id id;
	char *stable_name; /* as of image_stable_name() */
	GError *refusal;   /* NULL: the file may be added */
};

void added_file_clear(struct added_file *file);

/*
 * Checks whether @image is in @places (those of --allow-add). Blocks as long as the file system
 * does. Any thread. The caller clears the result.
 */
void added_look(char *const *places, const char *image, struct added_file *ret_file);

/*
 * The options of a disk that a client adds, with the result @file of added_look(); NULL with @err
 * set. Files that the image names must also be in @places. Free them with options_free(). Blocks,
 * but not for the image's file system; one call at a time.
 */
struct options *added_options(char *const *places, const char *image, const struct added_file *file,
			      char *const *words, GError **err);

#endif
