// SPDX-License-Identifier: GPL-2.0-or-later
/* What each part of an image is, through its chain; see extents.h. */
#include "extents.h"

#include "align.h"

/*
 * Whether the file has fewer clusters on disk than the format has allocated in it: metadata was
 * preallocated, or clusters were partly written. Then, as in QEMU, the file is asked which data is
 * zero; otherwise that would only cost time.
 */
static bool co_is_sparse(struct image *layer)
{
	uint64_t cluster = image_limits(layer)->cluster_size;
	int64_t allocated = image_co_allocated_bytes(layer);
	uint64_t on_disk, taken;

	if (!cluster || !image_file(layer) || allocated < 0)
		return false;
	on_disk = allocated / cluster;
	taken = div_round_up(image_size(image_file(layer)), cluster);
	return taken >= MAX(on_disk * 10 / 9, on_disk + 2);
}

void extents_co_init(struct extents *extents, struct image *img)
{
	*extents = (struct extents){ .img = img };
	for (unsigned depth = 0; img; img = image_backing(img), depth++)
		extents->sparse[depth] = co_is_sparse(img);
}

/* Cuts the extent to the part that is all zero or all data in the file, and notes which. */
static int co_look_below(struct image_extent *extent)
{
	struct image *file = extent->file;
	uint64_t size = image_size(file);
	struct image_extent below;
	int ret;

	if (extent->host_off >= size) {
		extent->flags |= IMAGE_EXTENT_ZERO;
		return 0;
	}
	ret = image_co_block_status(file, extent->host_off,
				    MIN(extent->bytes, size - extent->host_off), &below);
	if (ret)
		return ret;
	extent->bytes = below.bytes;
	extent->flags |= below.flags & IMAGE_EXTENT_ZERO;
	return 0;
}

int extents_co_get(const struct extents *extents, uint64_t off, uint64_t bytes,
		   struct image_extent *ret_extent)
{
	const unsigned has_place = IMAGE_EXTENT_DATA | IMAGE_EXTENT_OFFSET;
	int ret = image_co_block_status_chain(extents->img, off, bytes, ret_extent);

	if (ret || !ret_extent->layer)
		return ret;
	/* Beyond the end of a short backing file, the layer above provides the zeroes. */
	if (off >= image_size(ret_extent->layer)) {
		ret_extent->flags &= ~IMAGE_EXTENT_ALLOCATED;
		ret_extent->layer = NULL;
		ret_extent->depth--;
		return 0;
	}
	if ((ret_extent->flags & has_place) == has_place && extents->sparse[ret_extent->depth])
		return co_look_below(ret_extent);
	return 0;
}

int extents_co_count_data(struct image *img, uint64_t unit, uint64_t *ret_units)
{
	g_autofree struct extents *extents = g_new(struct extents, 1);
	uint64_t size = image_size(img), off = 0, units = 0;

	extents_co_init(extents, img);
	while (off < size) {
		struct image_extent extent;
		int ret = extents_co_get(extents, off, size - off, &extent);
		uint64_t end = off + extent.bytes;

		if (ret)
			return ret;
		/* What follows in the last unit does not count again. */
		if (!(extent.flags & IMAGE_EXTENT_ZERO)) {
			units += div_round_up(end, unit) - off / unit;
			end = MIN(round_up_to(end, unit), size);
		}
		off = end;
	}
	*ret_units = units;
	return 0;
}
