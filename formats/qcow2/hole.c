// SPDX-License-Identifier: GPL-2.0-or-later
/* Holes in the file, which need not be read. */
#include "align.h"
#include "qcow2.h"

#define HOLE_BEFORE (1ull << 30)

static bool is_within(const struct hole *hole, uint64_t host_off, uint64_t bytes)
{
	return host_off >= hole->start && host_off + bytes <= hole->end;
}

bool qcow2_co_is_hole(struct qcow2 *q, struct hole *hole, uint64_t host_off, uint64_t bytes)
{
	uint64_t size = image_size(q->file);
	/* Starts some way before: the next offset asked for may lie there. */
	const uint64_t from[] = { align_down(host_off, HOLE_BEFORE), host_off };
	struct image_extent extent;

	if (host_off >= size || bytes > size - host_off)
		return false;
	for (unsigned i = 0; i < 2 && !is_within(hole, host_off, bytes); i++) {
		if (image_co_block_status(q->file, from[i], size - from[i], &extent))
			return false;
		if (extent.flags & IMAGE_EXTENT_ZERO)
			*hole = (struct hole){ from[i], from[i] + extent.bytes };
	}
	return is_within(hole, host_off, bytes);
}
