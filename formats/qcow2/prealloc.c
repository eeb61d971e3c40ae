// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Preallocation: guest clusters that read as zeroes get host clusters that do, too. They are linked
 * in memory only; the flush that writes the L2 entries makes the clusters durable before (C2).
 */
#include "qcow2.h"

/* @fresh: the clusters already read as zeroes. */
static int co_fill_clusters(struct qcow2 *q, enum image_preallocation mode, uint64_t host_off,
			    uint64_t bytes, bool fresh)
{
	switch (mode) {
	case IMAGE_PREALLOC_FULL:
		return qcow2_co_write_zero_data(q, host_off, bytes);
	case IMAGE_PREALLOC_FALLOC:
		return qcow2_co_zero_data(q, host_off, bytes, 0);
	default:
		/* A file that ends before its last cluster looks as if something were lost. */
		if (fresh && host_off + bytes > image_size(q->data_file))
			return image_co_truncate(q->data_file, host_off + bytes);
		return fresh ? 0 : qcow2_co_zero_data(q, host_off, bytes, 0);
	}
}

/* How many entries from @index on are like the first: with a host cluster, or without. */
static uint64_t count_alike(const struct qcow2 *q, const struct slice *slice, unsigned index,
			    uint64_t most, bool *ret_allocated)
{
	uint64_t nr = 0;

	for (; nr < most; nr++) {
		uint64_t desc = qcow2_slice_load(q, slice, index + nr).desc;
		bool allocated = desc & QCOW2_COMPRESSED || qcow2_has_cluster(q, desc);

		if (!nr)
			*ret_allocated = allocated;
		else if (allocated != *ret_allocated)
			break;
	}
	return nr;
}

static int co_take_clusters(struct qcow2 *q, uint64_t off, uint64_t *nr, uint64_t *ret_host_off,
			    bool *ret_fresh)
{
	int ret;

	if (qcow2_has_data_file(q)) {
		*ret_host_off = off;
		*ret_fresh = false;
		return 0;
	}
	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_alloc_clusters(q, *nr, ret_host_off, nr, ret_fresh);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static void link_clusters(struct qcow2 *q, struct slice *slice, unsigned index, uint64_t nr,
			  uint64_t host_off)
{
	struct l2_entry entry = { host_off | QCOW2_COPIED, 0 };

	if (q->extended_l2)
		entry.bitmap = subclusters_allocate(0, QCOW2_ALL_SUBCLUSTERS);
	co_mutex_lock(&q->alloc_lock);
	for (uint64_t i = 0; i < nr; i++, entry.desc += q->cluster_size)
		qcow2_slice_store(q, slice, index + i, entry);
	co_mutex_unlock(&q->alloc_lock);
}

/* Handles the first clusters, at most @nr; *ret_nr: how many it handled. */
static int co_preallocate_some(struct qcow2 *q, struct slice *slice, uint64_t off, uint64_t nr,
			       enum image_preallocation mode, uint64_t *ret_nr)
{
	unsigned index = qcow2_slice_index(q, off);
	uint64_t host_off;
	bool allocated = false, fresh;
	int ret;

	nr = count_alike(q, slice, index, MIN(nr, (1ull << q->slice_bits) - index), &allocated);
	*ret_nr = nr;
	if (allocated)
		return 0;
	ret = co_take_clusters(q, off, &nr, &host_off, &fresh);
	if (ret)
		return ret;
	ret = co_fill_clusters(q, mode, host_off, nr << q->cluster_bits, fresh);
	if (!ret) {
		link_clusters(q, slice, index, nr, host_off);
		*ret_nr = nr;
	} else if (!qcow2_has_data_file(q)) {
		co_mutex_lock(&q->alloc_lock);
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, host_off), nr);
		co_mutex_unlock(&q->alloc_lock);
	}
	return ret;
}

int qcow2_co_preallocate(struct qcow2 *q, uint64_t off, uint64_t end, enum image_preallocation mode)
{
	struct slice *slice;
	uint64_t nr;
	int ret;

	for (; off < end; off += nr << q->cluster_bits) {
		ret = qcow2_co_get_writable_slice(q, off, &slice);
		if (ret)
			return ret;
		ret = co_preallocate_some(q, slice, off, qcow2_clusters_for(q, end - off), mode,
					  &nr);
		qcow2_slice_put(slice);
		if (ret)
			return ret;
	}
	return 0;
}
