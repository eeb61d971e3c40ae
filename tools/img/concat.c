// SPDX-License-Identifier: GPL-2.0-or-later
/* Several images, read like one; see concat.h. */
#include "concat.h"

#include <errno.h>

struct concat *concat_new(unsigned max)
{
	struct concat *concat = g_new0(struct concat, 1);

	concat->parts = g_new(struct concat_part, max);
	return concat;
}

void concat_free(struct concat *concat)
{
	if (!concat)
		return;
	g_free(concat->parts);
	g_free(concat);
}

int concat_co_add_part(struct concat *concat, struct image *img, uint64_t start, uint64_t bytes)
{
	struct concat_part *part = &concat->parts[concat->nr];

	if (bytes > INT64_MAX - concat->size)
		return -EFBIG;
	*part = (struct concat_part){
		.img = img,
		.off = concat->size,
		.start = start,
		.bytes = bytes,
	};
	extents_co_init(&part->extents, img);
	concat->nr++;
	concat->size += bytes;
	return 0;
}

int concat_co_add(struct concat *concat, struct image *img)
{
	return concat_co_add_part(concat, img, 0, image_size(img));
}

const struct concat_part *concat_at(const struct concat *concat, uint64_t off)
{
	unsigned i = concat->nr - 1;

	while (off < concat->parts[i].off)
		i--;
	return &concat->parts[i];
}

/* How much of a range lies in a part. */
static uint64_t bytes_in(const struct concat_part *part, uint64_t off, uint64_t bytes)
{
	return MIN(bytes, part->off + part->bytes - off);
}

/* An offset in the part's image. */
static uint64_t off_in(const struct concat_part *part, uint64_t off)
{
	return off - part->off + part->start;
}

int concat_co_pread(const struct concat *concat, uint64_t off, uint64_t bytes, void *buf)
{
	int ret = 0;

	while (!ret && bytes) {
		const struct concat_part *part = concat_at(concat, off);
		uint64_t here = bytes_in(part, off, bytes);

		ret = image_co_pread(part->img, off_in(part, off), here, buf);
		off += here;
		bytes -= here;
		buf = (char *)buf + here;
	}
	return ret;
}

int concat_co_block_status_chain(const struct concat *concat, uint64_t off, uint64_t bytes,
				 struct image_extent *ret_extent)
{
	const struct concat_part *part = concat_at(concat, off);

	return extents_co_get(&part->extents, off_in(part, off), bytes_in(part, off, bytes),
			      ret_extent);
}
