/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each part of an image is, as people see it: which layer of the chain decides it, and whether
 * it is zero, which the file below that layer may know better.
 */
#ifndef UBD_EXTENTS_H
#define UBD_EXTENTS_H

#include "image.h"

struct extents {
	struct image *img;
	bool sparse[IMAGE_MAX_CHAIN]; /* layers whose files are asked, too */
};

/* Looks at the files of the chain. The image must stay open and unchanged. */
void extents_co_init(struct extents *extents, struct image *img);

/*
 * The first part of a range of the image. Where no layer decides it, it is zero, with neither layer
 * nor IMAGE_EXTENT_ALLOCATED. Any thread.
 */
int extents_co_get(const struct extents *extents, uint64_t off, uint64_t bytes,
		   struct image_extent *ret_extent);

/* Counts the units of an image that have a part that is not known to read as zeroes. */
int extents_co_count_data(struct image *img, uint64_t unit, uint64_t *ret_units);

#endif
