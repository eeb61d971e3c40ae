/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an image may name: its backing file and its data file. An image may be a stranger's, and
 * whoever opens it has more rights than the stranger; so whoever opens the top image of a chain
 * decides for all layers, and the decision is made here.
 *
 * Whatever it is, a named file is a regular file or a block device (as every image), lies on
 * no pseudo file system such as /proc or /sys, and is not reached through one: what one
 * finds there depends on who looks.
 *
 * What decides is the file that is open, not its name. So links of all kinds, "..", and a name
 * that changes meanwhile make no difference. Hard links do: to the kernel one name of a file is as
 * good as another.
 */
#ifndef UBD_POLICY_H
#define UBD_POLICY_H

#include <glib.h>
#include <stdbool.h>

struct image_names {
	enum {
		IMAGE_NAMES_ANYWHERE,
		/* In the folder of the image that names it: of its name, or where it lies. */
		IMAGE_NAMES_BESIDE,
		IMAGE_NAMES_LISTED, /* one of the places, or below it */
		IMAGE_NAMES_NONE,
	} from;
	char **places; /* without links; NULL unless LISTED */
};

struct image_policy {
	struct image_names backing;
	struct image_names data_file;
	/* A backing file whose format is not named in the image is refused, not probed. */
	bool formats_given;
};

/*
 * Reads "any", "none" or FOLDER[:FOLDER...], which must exist; a place may be a file as well. What
 * was in *names is freed. Blocks.
 */
bool image_names_parse(const char *text, struct image_names *names, GError **err);
void image_names_clear(struct image_names *names);

/* ---- for formats/ ---- */

/* By what right a file is opened that an image names. @policy may be NULL: anywhere. */
struct named_file {
	const char *by;			 /* file name of the image */
	const struct image_names *names; /* NULL: anywhere */
	const char *option;		 /* that allows more */
};

struct named_file named_backing_file(const struct image_policy *policy, const char *by);
struct named_file named_data_file(const struct image_policy *policy, const char *by);

/* As open(2), but not through links of /proc. */
int named_file_open(const char *filename, int flags);

/* NULL if the open file (O_PATH will do) is allowed; else why not, which the caller frees. */
char *named_file_refusal(const struct named_file *named, int fd);

/* The same for what is no file. */
char *named_nothing_refusal(const struct named_file *named);

#endif
