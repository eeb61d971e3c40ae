// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Write zeroes and discard.
 *
 * Whole clusters are changed in the L2 table; a cluster covered in part is
 * written with zeroes where it does not read so already, or, for a discard, left alone.
 *
 * Version 3 has the zero flag: a discarded cluster gets it, so that the backing
 * file's data does not come back. Version 2 has not: there a cluster is
 * deallocated only where nothing lies below, else discard leaves it and write
 * zeroes writes.
 */
#include "qcow2.h"

/* Freed clusters that wait before a discard writes the image back by itself. */
#define RECLAIM_AT_CLUSTERS 1024
#define ZERO_BUFFER_BYTES   (256u << 10)

enum zero_kind {
	ZERO_DISCARD, /* need not keep space, need not succeed */
	ZERO_UNMAP,   /* need not keep space */
	ZERO_KEEP,    /* keep what is allocated */
};

/* Whether an unallocated cluster reads as zeroes. */
static bool nothing_below(struct qcow2 *q, uint64_t off)
{
	return !q->img->backing || off >= image_size(q->img->backing);
}

/*
 * The entry that makes a cluster read as zeroes. False: there is none, and
 * zeroes must be written.
 */
static bool zero_entry(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t old,
		       uint64_t *ret_entry)
{
	bool allocated_alone = old & QCOW2_COPIED && !(old & QCOW2_COMPRESSED);

	if (q->version >= 3) {
		if (kind == ZERO_KEEP && allocated_alone)
			*ret_entry = old | QCOW2_ZERO;
		else if (!(old & (QCOW2_COMPRESSED | QCOW2_OFFSET_MASK)) && nothing_below(q, off))
			*ret_entry = old;
		else
			*ret_entry = QCOW2_ZERO;
		return true;
	}
	*ret_entry = 0;
	return nothing_below(q, off) && (kind != ZERO_KEEP || !old);
}

/*
 * Changes the entries of clusters from @off on, all in one slice, until one
 * that cannot be. *ret_nr: how many were done; none and success: look again.
 */
static int zero_entries(struct qcow2 *q, enum zero_kind kind, struct slice *slice, uint64_t off,
			uint64_t nr, uint64_t *ret_nr) REQUIRES(q->alloc_lock)
{
	unsigned index = qcow2_slice_index(q, off);
	enum mapping_type type;
	uint64_t i;

	*ret_nr = 0;
	nr = qcow2_co_wait_for_plans(q, qcow2_cluster_index(q, off), nr);
	for (i = 0; i < nr; i++) {
		uint64_t old = slice_load(slice, index + i), new;

		if (qcow2_entry_type(q, old, &type))
			return -EIO;
		if (!zero_entry(q, kind, off + (i << q->cluster_bits), old, &new)) {
			if (kind != ZERO_DISCARD)
				return i ? 0 : -ENOTSUP;
			new = old;
		}
		*ret_nr = i + 1;
		if (new == old)
			continue;
		slice_store(q, slice, index + i, new);
		if (!(new &QCOW2_OFFSET_MASK))
			qcow2_unlink_entry(q, old);
	}
	return 0;
}

/* Where there is no L2 table, one is needed only to hide what lies below. */
static bool needs_no_table(struct qcow2 *q, enum zero_kind kind, uint64_t off)
{
	uint32_t l1_index = qcow2_l1_index(q, off);

	if (l1_index < q->l1_size && atomic_load(&q->l1[l1_index]) & QCOW2_OFFSET_MASK)
		return false;
	return nothing_below(q, off) || (kind == ZERO_DISCARD && q->version < 3);
}

static uint64_t bytes_to_boundary(uint64_t off, uint64_t boundary)
{
	return boundary - (off & (boundary - 1));
}

/* A range of whole clusters. *ret_done as of zero_entries(), in bytes. */
static int co_zero_clusters(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t bytes,
			    uint64_t *ret_done)
{
	uint64_t slice_covers = 1ull << (q->cluster_bits + q->slice_bits);
	uint64_t table_covers = 1ull << (q->cluster_bits + q->l2_bits);
	struct slice *slice;
	uint64_t nr;
	int ret;

	if (needs_no_table(q, kind, off)) {
		*ret_done = MIN(bytes, bytes_to_boundary(off, table_covers));
		return 0;
	}
	ret = qcow2_co_get_writable_slice(q, off, &slice);
	if (ret)
		return ret;
	bytes = MIN(bytes, bytes_to_boundary(off, slice_covers));
	nr = qcow2_clusters_for(q, bytes);
	co_mutex_lock(&q->alloc_lock);
	ret = zero_entries(q, kind, slice, off, nr, &nr);
	co_mutex_unlock(&q->alloc_lock);
	slice_put(slice);
	/* The last cluster may go past the end of the image. */
	*ret_done = MIN(bytes, nr << q->cluster_bits);
	return ret;
}

static int co_write_zero_buffer(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	uint64_t step = MIN(bytes, ZERO_BUFFER_BYTES);
	void *zeroes = try_iobuf_alloc0(step);
	struct iovec vec;
	int ret = zeroes ? 0 : -ENOMEM;

	while (bytes && !ret) {
		uint64_t now = MIN(bytes, step);

		ret = qcow2_co_write_range(q, off, now, IOBUF(&vec, zeroes, now));
		off += now;
		bytes -= now;
	}
	iobuf_free(zeroes);
	return ret;
}

/* A part of a cluster. */
static int co_zero_part(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t bytes)
{
	struct mapping map;
	int ret;

	if (kind == ZERO_DISCARD)
		return 0;
	ret = qcow2_co_lookup(q, off, bytes, &map);
	if (ret)
		return ret;
	if (map.type == MAPPING_ZERO || map.type == MAPPING_ZERO_ALLOCATED ||
	    (map.type == MAPPING_UNALLOCATED && nothing_below(q, off)))
		return 0;
	return co_write_zero_buffer(q, off, bytes);
}

static int co_zero_range(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t bytes)
{
	uint64_t end = off + bytes, done;
	/* The image's last cluster counts as whole when all of it that the guest sees is meant. */
	uint64_t whole_end = end == image_size(q->img) ? end : qcow2_cluster_start(q, end);
	int ret;

	while (off < end) {
		if (qcow2_in_cluster(q, off) || off >= whole_end) {
			done = MIN(end - off, bytes_to_boundary(off, q->cluster_size));
			ret = co_zero_part(q, kind, off, done);
		} else {
			ret = co_zero_clusters(q, kind, off, whole_end - off, &done);
			if (ret == -ENOTSUP) {
				done = MIN(end - off, q->cluster_size);
				ret = co_write_zero_buffer(q, off, done);
			}
		}
		if (ret)
			return ret;
		off += done;
	}
	return 0;
}

static int co_zero_request(struct image *img, enum zero_kind kind, uint64_t off, uint64_t bytes)
{
	struct qcow2 *q = img->opaque;
	uint64_t epoch;
	int ret;

	epoch = qcow2_co_request_begin(q);
	ret = co_zero_range(q, kind, off, bytes);
	qcow2_request_end(q, epoch);

	/* A guest that never flushes still gets its space back. */
	if (!ret && atomic_load(&q->nr_unlinked) >= RECLAIM_AT_CLUSTERS)
		ret = qcow2_co_flush_all(q);
	return ret;
}

int qcow2_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	return co_zero_request(img, ZERO_DISCARD, off, bytes);
}

int qcow2_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	return co_zero_request(img, flags & IMAGE_REQ_MAY_UNMAP ? ZERO_UNMAP : ZERO_KEEP, off,
			       bytes);
}
