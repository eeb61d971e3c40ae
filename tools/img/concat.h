/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several images, or parts of them, one after the other, read like one. */
#ifndef UBD_CONCAT_H
#define UBD_CONCAT_H

#include "extents.h"

struct concat {
	struct concat_part {
		struct image *img;
		struct extents extents;
		uint64_t off;	/* where it begins */
		uint64_t start; /* the part of the image */
		uint64_t bytes;
	} * parts;
	unsigned nr;
	uint64_t size;
};

/* An empty one, with room for @max images. */
struct concat *concat_new(unsigned max);
/* Does not close the images. NULL is fine. */
void concat_free(struct concat *concat);

/*
 * Appends an image, which stays the caller's, open and unchanged. -EFBIG: all of them together are
 * too large.
 */
int concat_co_add(struct concat *concat, struct image *img);
/* The same of a part of an image, which must be within it. */
int concat_co_add_part(struct concat *concat, struct image *img, uint64_t start, uint64_t bytes);

/* The image at an offset within the size. */
const struct concat_part *concat_at(const struct concat *concat, uint64_t off);

/* As those of an image; the status as of extents_co_get(). */
int concat_co_pread(const struct concat *concat, uint64_t off, uint64_t bytes, void *buf);
int concat_co_block_status_chain(const struct concat *concat, uint64_t off, uint64_t bytes,
				 struct image_extent *ret_extent);

#endif
