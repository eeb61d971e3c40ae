// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a server says about its disk: limits and capacity, checked and applied. The limits are
 * constant once START_DEV is under way; the capacity may change later.
 */
#include <linux/blkdev.h>
#include <linux/log2.h>

#include "compat.h"
#include "ubd.h"

#define UBD_ATTRS_KNOWN                                                                            \
	(UBD_ATTR_READ_ONLY | UBD_ATTR_ROTATIONAL | UBD_ATTR_VOLATILE_CACHE | UBD_ATTR_FUA |       \
	 UBD_ATTR_STABLE_WRITES)

static bool ubd_is_block_size(u32 bytes)
{
	return is_power_of_2(bytes) && bytes >= SECTOR_SIZE && bytes <= PAGE_SIZE;
}

static bool ubd_is_capacity(u64 sectors, u32 block_sectors)
{
	return sectors && sectors % block_sectors == 0 && sectors <= LLONG_MAX >> SECTOR_SHIFT;
}

static bool ubd_are_sizes_valid(const struct ubd_params *p, u32 max_io_bytes)
{
	u32 block_sectors = p->logical_block_size >> SECTOR_SHIFT;

	return ubd_is_block_size(p->logical_block_size) &&
	       ubd_is_block_size(p->physical_block_size) &&
	       p->physical_block_size >= p->logical_block_size && p->io_min &&
	       p->io_min % p->logical_block_size == 0 && p->io_opt % p->logical_block_size == 0 &&
	       p->max_io_sectors >= PAGE_SECTORS && p->max_io_sectors % block_sectors == 0 &&
	       p->max_io_sectors <= max_io_bytes >> SECTOR_SHIFT &&
	       ubd_is_capacity(p->dev_sectors, block_sectors);
}

static bool ubd_are_discards_valid(const struct ubd_params *p)
{
	u32 block_sectors = p->logical_block_size >> SECTOR_SHIFT;

	if (p->max_write_zeroes_sectors % block_sectors || p->max_discard_sectors % block_sectors)
		return false;
	/* The granularity describes how blocks are grouped, even on a disk without discards. */
	if (p->discard_granularity % p->logical_block_size)
		return false;
	if (!p->max_discard_sectors)
		return true;
	return p->discard_granularity &&
	       p->max_discard_sectors >= p->discard_granularity >> SECTOR_SHIFT;
}

static u32 ubd_dma_alignment(const struct ubd_params *p)
{
	return p->dma_alignment ?: SECTOR_SIZE;
}

/*
 * The block layer does not accept less. Its users read and write single blocks, aligned in
 * memory as they are on the disk. And it cannot split a block: one whose pieces are as small as
 * allowed must still fit into a request.
 */
static bool ubd_are_segments_valid(const struct ubd_params *p)
{
	u32 alignment = ubd_dma_alignment(p);

	if (!is_power_of_2(alignment) || alignment < 4 || alignment > p->logical_block_size)
		return false;
	if (p->max_segments &&
	    (p->max_segments > USHRT_MAX || p->max_segments < p->logical_block_size / alignment))
		return false;
	if (p->max_segment_size && (p->max_segment_size < PAGE_SIZE ||
				    p->max_segment_size % max_t(u32, alignment, SECTOR_SIZE)))
		return false;
	return !p->segment_boundary ||
	       (is_power_of_2(p->segment_boundary) && p->segment_boundary >= PAGE_SIZE);
}

static bool ubd_are_params_valid(const struct ubd_params *p, u32 max_io_bytes)
{
	if ((p->attrs & ~UBD_ATTRS_KNOWN) || memchr_inv(p->reserved1, 0, sizeof(p->reserved1)))
		return false;
	if ((p->attrs & UBD_ATTR_FUA) && !(p->attrs & UBD_ATTR_VOLATILE_CACHE))
		return false;
	return ubd_are_sizes_valid(p, max_io_bytes) && ubd_are_discards_valid(p) &&
	       ubd_are_segments_valid(p);
}

int ubd_device_set_params(struct ubd_device *dev, const struct ubd_params *params)
{
	int err = 0;

	if (!ubd_are_params_valid(params, dev->max_io_bytes))
		return -EINVAL;

	spin_lock(&dev->lock);
	if (dev->state != UBD_S_DEV_ADDED || dev->starting) {
		err = -EBUSY;
	} else {
		dev->params = *params;
		dev->has_params = true;
	}
	spin_unlock(&dev->lock);
	return err;
}

/* A request is smaller than 4 GiB. Linux 6.1 does not enforce that for write zeroes. */
static u32 ubd_limit_sectors(const struct ubd_params *p, u32 sectors)
{
	return min_t(u32, sectors, round_down(UINT_MAX, p->logical_block_size) >> SECTOR_SHIFT);
}

struct gendisk *ubd_params_disk(struct ubd_device *dev)
{
	const struct ubd_params *p = &dev->params;
	struct queue_limits limits = {
		.logical_block_size = p->logical_block_size,
		.physical_block_size = p->physical_block_size,
		.io_min = p->io_min,
		.io_opt = p->io_opt,
		.max_hw_sectors = p->max_io_sectors,
		/*
		 * Data is copied segment by segment: neither their number nor their size matters to
		 * us.
		 */
		.max_segments = p->max_segments ?: USHRT_MAX,
		.max_segment_size = p->max_segment_size ?: UINT_MAX,
		.dma_alignment = ubd_dma_alignment(p) - 1,
		.seg_boundary_mask = (p->segment_boundary ?: BIT_ULL(32)) - 1,
		.discard_granularity = p->discard_granularity,
		.max_hw_discard_sectors = ubd_limit_sectors(p, p->max_discard_sectors),
		.max_write_zeroes_sectors = ubd_limit_sectors(p, p->max_write_zeroes_sectors),
	};
	struct gendisk *disk;

	disk = ubd_alloc_disk(&dev->tag_set, dev, &limits, p->attrs & UBD_ATTR_VOLATILE_CACHE,
			      p->attrs & UBD_ATTR_FUA, p->attrs & UBD_ATTR_ROTATIONAL,
			      p->attrs & UBD_ATTR_STABLE_WRITES);
	if (!IS_ERR(disk)) {
		set_disk_ro(disk, p->attrs & UBD_ATTR_READ_ONLY);
		set_capacity(disk, p->dev_sectors);
	}
	return disk;
}

/* ---- capacity ---- */

/* Processes that have the disk open learn about it from a uevent. */
void ubd_resize(struct ubd_device *dev)
{
	u64 sectors;

	spin_lock(&dev->lock);
	sectors = dev->params.dev_sectors;
	spin_unlock(&dev->lock);

	if (dev->disk)
		set_capacity_and_notify(dev->disk, sectors);

	spin_lock(&dev->lock);
	dev->resizing = false;
	spin_unlock(&dev->lock);
}

static int ubd_claim_resize(struct ubd_device *dev, u64 sectors)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev)) {
		err = -ENODEV;
	} else if (dev->state == UBD_S_DEV_ADDED ||
		   !ubd_is_capacity(sectors, dev->params.logical_block_size >> SECTOR_SHIFT)) {
		err = -EINVAL;
	} else if (dev->resizing) {
		err = -EBUSY;
	} else {
		dev->params.dev_sectors = sectors;
		dev->resizing = true;
	}
	spin_unlock(&dev->lock);
	return err;
}

static int ubd_try_resized(struct ubd_device *dev)
{
	bool resizing;

	spin_lock(&dev->lock);
	resizing = dev->resizing;
	spin_unlock(&dev->lock);
	return resizing ? -EAGAIN : 0;
}

int ubd_device_update_size(struct ubd_device *dev, u64 sectors)
{
	int err;

	err = ubd_pace(dev);
	if (err)
		return err;
	err = ubd_claim_resize(dev, sectors);
	if (err)
		return err;
	ubd_device_ask(dev, UBD_ASK_RESIZE);
	return ubd_wait(dev, ubd_try_resized);
}
