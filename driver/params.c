// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a server says of its disk: limits and capacity, checked and applied. Limits are
 * constant once START_DEV is under way; the capacity may change later.
 */
#include <linux/blkdev.h>
#include <linux/log2.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "ubd.h"

#define UBD_ATTRS_KNOWN                                                                            \
	(UBD_ATTR_READ_ONLY | UBD_ATTR_ROTATIONAL | UBD_ATTR_VOLATILE_CACHE | UBD_ATTR_FUA)

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
	if (!p->max_discard_sectors)
		return true;
	return p->discard_granularity && p->discard_granularity % p->logical_block_size == 0 &&
	       p->max_discard_sectors >= p->discard_granularity >> SECTOR_SHIFT;
}

static bool ubd_are_params_valid(const struct ubd_params *p, u32 max_io_bytes)
{
	if ((p->attrs & ~UBD_ATTRS_KNOWN) || p->reserved0 ||
	    memchr_inv(p->reserved1, 0, sizeof(p->reserved1)))
		return false;
	if ((p->attrs & UBD_ATTR_FUA) && !(p->attrs & UBD_ATTR_VOLATILE_CACHE))
		return false;
	return ubd_are_sizes_valid(p, max_io_bytes) && ubd_are_discards_valid(p);
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

void ubd_apply_params(struct gendisk *disk, const struct ubd_params *p)
{
	struct request_queue *q = disk->queue;

	blk_queue_logical_block_size(q, p->logical_block_size);
	blk_queue_physical_block_size(q, p->physical_block_size);
	blk_queue_io_min(q, p->io_min);
	blk_queue_io_opt(q, p->io_opt);
	blk_queue_max_hw_sectors(q, p->max_io_sectors);
	/* Data is copied segment by segment: their number and size do not matter. */
	blk_queue_max_segments(q, USHRT_MAX);
	blk_queue_max_segment_size(q, UINT_MAX);

	q->limits.discard_granularity = p->discard_granularity;
	blk_queue_max_discard_sectors(q, p->max_discard_sectors);
	blk_queue_max_write_zeroes_sectors(q, p->max_write_zeroes_sectors);

	blk_queue_write_cache(q, p->attrs & UBD_ATTR_VOLATILE_CACHE, p->attrs & UBD_ATTR_FUA);
	if (!(p->attrs & UBD_ATTR_ROTATIONAL))
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	set_disk_ro(disk, p->attrs & UBD_ATTR_READ_ONLY);
	set_capacity(disk, p->dev_sectors);
}

/* ---- capacity ---- */

/* Whoever has the disk open learns of it by a uevent. */
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

int ubd_device_update_size(struct ubd_device *dev, u64 sectors)
{
	int err;

	err = ubd_claim_resize(dev, sectors);
	if (err)
		return err;
	ubd_device_ask(dev, UBD_ASK_RESIZE);
	return wait_event_killable(dev->wait, !READ_ONCE(dev->resizing));
}
