/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new image as described by options: what `create` and `convert` have in common. */
#ifndef UBD_NEW_IMAGE_H
#define UBD_NEW_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

struct new_image {
	const char *filename;
	const char *format;
	GHashTable *options; /* those of the format, name -> value */
	char *backing_filename;
	char *backing_format;
	bool backing_unchecked;
	bool unfinished; /* until image_co_finish() */
	bool size_given;
	uint64_t size;
	const struct image *source; /* what must not be overwritten; NULL if there is none */
	struct image_begun begun;   /* its files, from create to finish or abandon */
};

/*
 * Takes the lists of -o (NULL: none) apart. False, and said so, if there is no
 * such format or a list is malformed. Clear it with new_image_clear(), also then.
 */
bool new_image_init(struct new_image *new, const char *filename, const char *format,
		    char *const *option_lists);
void new_image_clear(struct new_image *new);

/* -b and -F, which win over -o; NULL: not given. */
void new_image_set_backing(struct new_image *new, const char *filename, const char *format);

/*
 * Makes it, or says why not. On success new->size is what it got, and the image is there for
 * good after new_image_finish(); until then, or new_image_co_abandon(), signals abandon it.
 */
int new_image_co_create(struct new_image *new);
void new_image_finish(struct new_image *new);
void new_image_co_abandon(struct new_image *new);

/* "Formatting 'disk', fmt=raw size=1048576" */
void new_image_print(const struct new_image *new);

/* Whether one of the lists of -o (NULL: none) asks for help. */
bool new_image_asks_help(char *const *option_lists);

/* Prints the options of a format; false, and said so, if there is no such format. */
bool new_image_print_options(const char *format);

#endif
