// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Refcounts are raised ahead of need, for clusters behind all that were ever written: the reserve.
 * Entries may name its clusters at once, and a flush has no order to keep (flush.c). Rules:
 *
 *  1. A cluster of the reserve reads as zeroes, and nothing names it. Its refcount is one in
 * memory. Up to durable_end the refcounts are on disk, and the file is long enough, both durably: a
 *     power cut cannot leave an entry that names a free cluster (C1), or one behind the file's end.
 *  2. It is extended by a flush, in its step 1. What is added is durable after the first flush of
 *     the file that follows and succeeds, and until then it is not used without one (C1).
 *  3. A crash leaks the reserve. So it is never larger than an eighth of the clusters taken since
 *     the image was opened, nor than RESERVE_CLUSTERS and RESERVE_BYTES.
 *  4. An image that is closed, or whose structure is about to change, has none: see
 *     qcow2_co_release_reserve().
 *  5. It is only a gain: whatever stands in its way ends it, until the image is opened again.
 *
 * Clusters are taken from it in refcount.c.
 *
 * A block device has none: what lies behind its clusters in use is not known to be zero.
 */
#include "align.h"
#include "qcow2.h"
#include "rules.h"

#define RESERVE_CLUSTERS 256u
#define RESERVE_BYTES	 (16u << 20)
/* The part of what was taken that it may be. */
#define RESERVE_PART	 8
/* Less is not worth a write. */
#define LEAST_CLUSTERS	 4

static uint64_t taken_so_far(struct qcow2 *q)
{
	return atomic_load_explicit(&q->nr_taken, memory_order_relaxed);
}

static uint64_t most_clusters(struct qcow2 *q)
{
	uint64_t most = MIN(RESERVE_CLUSTERS, RESERVE_BYTES >> q->cluster_bits);

	return MIN(most, taken_so_far(q) / RESERVE_PART);
}

static bool may_reserve(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	return q->may_reserve && !q->broken && !atomic_load(&q->header_unsettled) &&
	       !qcow2_is_lazy(q);
}

/* Whether what is left will do until the flush after the next one. */
static bool suffices(struct qcow2 *q, uint64_t most) REQUIRES(q->alloc_lock)
{
	uint64_t left = q->reserve.end - q->reserve.start;
	uint64_t recent = taken_so_far(q) - q->reserve.taken;

	return left >= MAX(most / 2, MIN(2 * recent, most));
}

/* Rule 1: the file ends at @end_cluster or behind it. */
static int co_reach(struct qcow2 *q, uint64_t end_cluster) REQUIRES(q->alloc_lock)
{
	uint64_t end = end_cluster << q->cluster_bits;
	uint64_t bytes = MIN(q->cluster_size, MAX(q->file->limits.request_alignment, SECTOR_SIZE));
	void *zeroes;
	int ret;

	if (image_size(q->file) >= end)
		return 0;
	zeroes = try_iobuf_alloc0(bytes);
	ret = zeroes ? image_co_pwrite(q->file, end - bytes, bytes, zeroes, 0) : -ENOMEM;
	iobuf_free(zeroes);
	return ret;
}

/* Begins where nothing was ever written. -errno: there is no room. */
static int co_begin(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t cluster;
	bool again;
	int ret;

	do {
		cluster = q->zero_off >> q->cluster_bits;
		if ((cluster + RESERVE_CLUSTERS) << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
			return -EFBIG;
		ret = qcow2_co_make_countable(q, cluster, &again);
	} while (!ret && again);
	if (!ret)
		q->reserve.start = q->reserve.end = q->reserve.durable_end = cluster;
	return ret;
}

static int co_extend(struct qcow2 *q, uint64_t most) REQUIRES(q->alloc_lock)
{
	struct reserve *reserve = &q->reserve;
	int64_t taken;
	int ret = reserve->start == reserve->end ? co_begin(q) : 0;

	if (ret)
		return ret;
	/* Up to the end of a refcount block, or to a cluster in use: then it begins elsewhere. */
	taken = qcow2_co_take_run(q, reserve->end, most - (reserve->end - reserve->start));
	/* Somebody else's crash may have left clusters in use there. */
	if (!taken && reserve->start == reserve->end)
		qcow2_raise_zero_off(q, reserve->end + 1);
	if (taken <= 0)
		return taken;
	ret = co_reach(q, reserve->end + taken);
	if (ret)
		qcow2_co_untake_run(q, reserve->end, taken);
	else
		reserve->end += taken;
	return ret;
}

void qcow2_co_extend_reserve(struct qcow2 *q)
{
	uint64_t most = most_clusters(q);

	if (may_reserve(q) && most >= LEAST_CLUSTERS && !suffices(q, most) && co_extend(q, most))
		q->may_reserve = false;
	q->reserve.taken = taken_so_far(q);
	if (RULE_BROKEN(RULE_C1_RESERVE))
		q->reserve.durable_end = q->reserve.end;
}

void qcow2_reserve_durable(struct qcow2 *q, uint64_t end)
{
	q->reserve.durable_end = MAX(q->reserve.durable_end, end);
}

int qcow2_co_release_reserve(struct qcow2 *q)
{
	struct reserve *reserve = &q->reserve;
	uint64_t end = reserve->end, start = reserve->start;
	int ret = 0;

	if (start == end || RULE_BROKEN(RULE_RESERVE_RELEASED))
		return 0;
	ret = qcow2_co_untake_run(q, start, end - start);
	*reserve = (struct reserve){ .taken = reserve->taken };
	/* Nothing was written behind it. What cannot be cut off does no harm. */
	if (!ret && image_size(q->file) <= end << q->cluster_bits)
		image_co_truncate(q->file, start << q->cluster_bits);
	return ret;
}
