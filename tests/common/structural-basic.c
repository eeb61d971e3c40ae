// SPDX-License-Identifier: GPL-2.0-or-later
/* Structural operations that need no feature of a format: cold caches, reading the map, sizes. */
#include "structural.h"

#include <errno.h>

static int co_reopen(struct structural *s)
{
	return s->co_reopen(s);
}

const struct structural_op structural_reopen = {
	.name = "reopen",
	.exclusive = true,
	.co_perform = co_reopen,
};

/* Looks at every extent; the result may be outdated the next moment. */
static int co_map(struct structural *s)
{
	struct image_extent extent;
	uint64_t size = image_size(s->img);

	for (uint64_t off = 0; off < size; off += extent.bytes) {
		int ret = image_co_block_status_chain(s->img, off, size - off, &extent);

		if (ret < 0)
			return ret;
		if (!extent.bytes || extent.bytes > size - off)
			return -ERANGE;
	}
	return 0;
}

const struct structural_op structural_map = {
	.name = "map",
	.co_perform = co_map,
};

/* Handles what random faults make fail. */
#define MAX_TRIES 30

static bool is_raw(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "raw");
}

/* In blocks of the disk: otherwise the last write before a cut may leave a whole block behind. */
static int co_truncate(struct structural *s)
{
	uint64_t size = structural_draw_size(s) & ~(uint64_t)4095;
	unsigned tries = 0;
	int ret;

	structural_begin(s, NULL, size);
	/* Until the new size is durable, a cut may leave any size that later writes need. */
	do {
		ret = image_co_truncate(s->img, size) ?: image_co_flush(s->img);
	} while (ret < 0 && s->faults && ++tries < MAX_TRIES);
	structural_end(s, ret);
	return ret;
}

const struct structural_op structural_truncate = {
	.name = "truncate",
	.exclusive = true,
	.fits = is_raw,
	.co_perform = co_truncate,
};
