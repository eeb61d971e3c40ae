/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that clients of the control socket add: what --allow-add lets them have, whether or not
 * there is a sandbox.
 */
#ifndef UBD_ADDED_H
#define UBD_ADDED_H

#include <glib.h>

#include "options.h"

/* What is known of an image's file. */
struct added_file {
	struct file_id id;
	char *stable_name; /* as of image_stable_name() */
	GError *refusal;   /* NULL: the file may be added */
};

void added_file_clear(struct added_file *file);

/*
 * Looks whether @image is in @places (as of --allow-add). Blocks for as long as the file system
 * does. Any thread. The caller clears the result.
 */
void added_look(char *const *places, const char *image, struct added_file *ret_file);

/*
 * The options of a disk that a client adds, whose @file was looked at; NULL with @err set. What the
 * image names is in @places, too. Free them with options_free(). Blocks, but not for the image's
 * file system; one call at a time.
 */
struct options *added_options(char *const *places, const char *image, const struct added_file *file,
			      char *const *words, GError **err);

#endif
