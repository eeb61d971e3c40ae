/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creates a new image from options: shared by `create` and `convert`. */
#ifndef UBD_NEW_IMAGE_H
#define UBD_NEW_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

struct new_image {
	const char *filename;
	const char *format;
	const char *doing;   /* what fails, such as "error while converting"; NULL: creating it */
	bool announce;	     /* print "Formatting ..." before the format looks at the options */
	GHashTable *options; /* options of the format: name -> value */
	char *backing_filename;
	char *backing_format;
	bool backing_unchecked;
	bool unfinished; /* until image_co_finish() */
	bool size_given;
	uint64_t size;
	struct image *const *sources; /* as of image_create_opts */
	struct image_begun begun;     /* its files, from create to finish or abandon */
};

/*
 * Parses the lists of -o (NULL: none). False, after an error message, if the format is unknown or a
 * list is malformed. Call new_image_clear() in either case.
 */
bool new_image_init(struct new_image *new, const char *filename, const char *format,
		    char *const *option_lists);
void new_image_clear(struct new_image *new);

/* Whether the format or its file has all options that were given; otherwise prints an error. */
bool new_image_check_names(const struct new_image *new);

/* Sets -b and -F, which take precedence over -o; NULL: not given. */
void new_image_set_backing(struct new_image *new, const char *filename, const char *format);

/*
 * Creates the image, or prints an error. On success, new->size is its size, and the image becomes
 * permanent with new_image_finish(); until then, or until new_image_co_abandon(), signals abandon
 * it.
 */
int new_image_co_create(struct new_image *new);
void new_image_finish(struct new_image *new);
void new_image_co_abandon(struct new_image *new);

/*
 * Creates the image with @size bytes for a copy of @sources (up to a NULL), and lets @co_fill open
 * and fill it and call new_image_co_complete(). If that fails, the image is removed. All print
 * their own errors.
 */
int new_image_co_make(struct new_image *new, struct image *const *sources, uint64_t size,
		      int (*co_fill)(void *arg), void *arg);

/*
 * Makes an image that was opened with IMAGE_UNFINISHED or IMAGE_NO_FLUSH complete. @sync: what was
 * written without flushes is on disk afterwards. Prints its errors.
 */
int new_image_co_complete(struct image *img, bool sync);

/* Whether one of the lists of -o (NULL: none) asks for help. */
bool new_image_asks_help(char *const *option_lists);

/*
 * Prints the options of a format, and those of its file if that has a name (otherwise NULL). False,
 * after an error message, if the format is unknown.
 */
bool new_image_print_options(const char *format, const char *filename);

#endif
