// SPDX-License-Identifier: GPL-2.0-or-later
/* What filters have in common; see pass.h. */
#include "pass.h"

#include "align.h"
#include "image_event.h"

static void pass_event(struct image *img, enum image_event event)
{
	image_co_event(img->file, event);
}

/* A disk has whole sectors; what is behind the end of the file reads as zeroes. */
static void take_size(struct image *img)
{
	uint64_t size = image_size(img->file);

	img->size = img->is_below ? size : align_up(size, SECTOR_SIZE);
}

void filter_take_limits(struct image *img)
{
	img->co_event = img->file->co_event ? pass_event : NULL;
	take_size(img);
	img->grows = img->file->grows && img->is_below;
	img->limits = *image_limits(img->file);
}

int filter_follow_growth(struct image *img, int ret)
{
	image_grow(img, image_size(img->file));
	return ret;
}

int filter_co_pass_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	return image_co_preadv(img->file, off, bytes, mem);
}

int filter_co_pass_close(struct image *img)
{
	return 0;
}

int filter_co_pass_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			   unsigned flags)
{
	return filter_follow_growth(img, image_co_pwritev(img->file, off, bytes, mem, flags));
}

int filter_co_pass_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes,
				     struct iobuf mem)
{
	return image_co_pwrite_compressed(img->file, off, bytes, mem);
}

int filter_co_pass_flush(struct image *img)
{
	return image_co_flush(img->file);
}

int filter_co_pass_write_back(struct image *img, uint64_t off, uint64_t bytes)
{
	return image_co_write_back(img->file, off, bytes);
}

int filter_co_pass_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	return image_co_pdiscard(img->file, off, bytes);
}

int filter_co_pass_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	return filter_follow_growth(img, image_co_pwrite_zeroes(img->file, off, bytes, flags));
}

/* What lies below the image is below this node. */
int filter_co_pass_block_status(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent)
{
	int ret = image_co_block_status_chain(img->file, off, bytes, ret_extent);

	ret_extent->flags |= IMAGE_EXTENT_ALLOCATED;
	return ret;
}

int filter_co_pass_refresh_size(struct image *img)
{
	int ret = image_co_refresh_size(img->file);

	take_size(img);
	return ret;
}

int filter_co_pass_resize(struct image *img, uint64_t size, enum image_preallocation mode,
			  GError **err)
{
	int ret = image_co_resize(img->file, size, mode, err);

	take_size(img);
	return ret;
}
