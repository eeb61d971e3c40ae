// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The file grows ahead of what is allocated, and a program that is killed leaves it too long. Then
 * the next writer cuts it off, so that clusters there are again known to be zero (zero_off) and the
 * space is given back. Rules:
 *
 *  1. Only what no refcount covers is cut off. Refcounts on disk are complete: C1; and an image for
 *     which that does not hold was repaired before, or is not written to.
 *  2. Only holes are cut off, unwritten extents among them. What was written without a flush before
 *     the program died has no refcount; it may be of use to nobody, but zero_off must stay above.
 *  3. Only as much as growing ahead could have added: more was put there by somebody else. So this
 *     takes few lookups, whatever the image contains.
 */
#include "align.h"
#include "qcow2.h"
#include "rules.h"

/* Holes and data alternate at most so often in what is looked at. */
#define MAX_EXTENTS 4096

/* The file's last byte is data unless it was grown ahead, or truncated to its length. */
static bool ends_with_hole(struct qcow2 *q)
{
	uint64_t size = image_size(q->file);
	struct image_extent extent;

	return size && !q->file->ended_with_data &&
	       !image_co_block_status(q->file, size - 1, 1, &extent) &&
	       extent.flags & IMAGE_EXTENT_ZERO;
}

/* Lowers *end to behind the last cluster in use, if that is at @least or behind it. */
static int find_last_in_use(struct qcow2 *q, uint64_t least, uint64_t *end) REQUIRES(q->alloc_lock)
{
	uint64_t refcount = 0, cluster = *end;
	int ret = 0;

	while (!ret && !refcount && cluster > least) {
		ret = qcow2_co_get_refcount(q, cluster - 1, &refcount);
		cluster -= !refcount;
	}
	if (!ret && !refcount)
		return -ENOENT;
	*end = cluster;
	return ret;
}

/* Raises *end_off to behind the last data of the file. */
static int find_last_data(struct qcow2 *q, uint64_t *end_off)
{
	uint64_t off = *end_off, size = image_size(q->file);
	struct image_extent extent;
	int ret = 0;

	for (unsigned i = 0; off < size; i++, off += extent.bytes) {
		ret = i < MAX_EXTENTS ? image_co_block_status(q->file, off, size - off, &extent)
				      : -E2BIG;
		if (ret)
			return ret;
		if (!(extent.flags & IMAGE_EXTENT_ZERO))
			*end_off = off + extent.bytes;
	}
	return 0;
}

/* Leaves the file as it is if anything is not as expected. */
static void co_cut_off(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t size = image_size(q->file), end = qcow2_clusters_for(q, size), end_off;
	uint64_t most = qcow2_clusters_for(q, IMAGE_MAX_AHEAD) + 1;

	if (find_last_in_use(q, end > most ? end - most : 0, &end))
		return;
	end_off = end << q->cluster_bits;
	if (end_off < size && !find_last_data(q, &end_off) && end_off < size)
		image_co_truncate(q->file, end_off);
	q->zero_off = qcow2_clusters_for(q, image_size(q->file)) << q->cluster_bits;
	if (RULE_BROKEN(RULE_AHEAD_IS_ZERO))
		q->zero_off = end << q->cluster_bits;
}

void qcow2_co_grow_ahead(struct qcow2 *q)
{
	/* The tools say how much they will write, or write too little for it to pay off. */
	if (q->img->flags & IMAGE_WRITE_BEHIND || !image_grow_ahead(q->file))
		return;
	co_mutex_lock(&q->alloc_lock);
	q->may_reserve = true;
	if (ends_with_hole(q))
		co_cut_off(q);
	co_mutex_unlock(&q->alloc_lock);
}
