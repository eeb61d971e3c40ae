// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Write zeroes and discard.
 *
 * Whole clusters are changed in the L2 table; a partly covered cluster is written with zeroes
 * unless it already reads so or, for a discard, left alone. With extended L2 entries this holds for
 * subclusters.
 *
 * Version 3 has the zero flag: a discarded cluster gets it, so that the backing file's data does
 * not come back. Version 2 does not: there, a cluster is deallocated only if nothing lies below;
 * otherwise discard leaves it alone and write zeroes writes zeroes.
 *
 * What lies in an external data file is given up by punching a hole in it before the entry changes:
 * a plan keeps others from filling the cluster meanwhile.
 */
#include "align.h"
#include "qcow2.h"

/* A discard flushes the image itself once this much is unlinked. */
#define RECLAIM_AT_BYTES  (64ull << 20)
#define ZERO_BUFFER_BYTES (256u << 10)
/* A longer request is done in parts, each with its own epoch. */
#define PART_CLUSTERS	  16384

enum zero_kind {
	ZERO_DISCARD, /* need not keep space, need not succeed */
	ZERO_UNMAP,   /* need not keep space */
	ZERO_KEEP,    /* keep what is allocated */
	ZERO_EMPTY,   /* only where this image has no data of its own */
	ZERO_HIDE,    /* like KEEP; hides what may lie below later, too */
};

/* Whether the host cluster stays in the entry, for data to come. */
static bool keeps_cluster(struct qcow2 *q, enum zero_kind kind, uint64_t desc)
{
	return (kind == ZERO_KEEP || kind == ZERO_EMPTY || kind == ZERO_HIDE) &&
	       qcow2_has_own_cluster(q, desc);
}

/* Whether an entry that says nothing will do: then it reads as zeroes. */
static bool nothing_to_hide(const struct qcow2 *q, enum zero_kind kind, uint64_t off)
{
	return kind != ZERO_HIDE && qcow2_nothing_below(q, off);
}

static bool zero_cluster(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t old,
			 uint64_t *ret_desc)
{
	if (q->version >= 3) {
		if (keeps_cluster(q, kind, old))
			*ret_desc = old | QCOW2_ZERO;
		else if (!old && nothing_to_hide(q, kind, off))
			*ret_desc = old;
		else
			*ret_desc = QCOW2_ZERO;
		return true;
	}
	*ret_desc = 0;
	return nothing_to_hide(q, kind, off) && (kind != ZERO_KEEP || !old);
}

/* The same for subclusters. A cluster with no data left is given up. */
static bool zero_subclusters(struct qcow2 *q, enum zero_kind kind, uint64_t off,
			     struct l2_entry old, uint32_t mask, struct l2_entry *ret_new)
{
	if (old.desc & QCOW2_COMPRESSED) {
		*ret_new = (struct l2_entry){ 0, subclusters_make_zero(0, mask) };
		return mask == QCOW2_ALL_SUBCLUSTERS;
	}
	*ret_new = old;
	if (nothing_to_hide(q, kind, off))
		mask &= subclusters_allocated(old.bitmap);
	ret_new->bitmap = subclusters_make_zero(old.bitmap, mask);
	if (!subclusters_allocated(ret_new->bitmap) && !keeps_cluster(q, kind, old.desc))
		ret_new->desc = 0;
	return true;
}

/*
 * The entry that makes subclusters of the cluster at @off read as zeroes. False: there is none, and
 * zeroes must be written.
 */
static bool zero_entry(struct qcow2 *q, enum zero_kind kind, uint64_t off, struct l2_entry old,
		       uint32_t mask, struct l2_entry *ret_new)
{
	if (kind == ZERO_EMPTY && qcow2_data_subclusters(q, old) & mask)
		return false;
	if (q->extended_l2)
		return zero_subclusters(q, kind, off, old, mask, ret_new);
	ret_new->bitmap = 0;
	return zero_cluster(q, kind, off, old.desc, &ret_new->desc);
}

/* The subclusters of a range within one cluster; at the image's end, including those behind it. */
static uint32_t range_mask(const struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	unsigned first = qcow2_subcluster_index(q, off);
	unsigned last = qcow2_subcluster_index(q, off + bytes - 1);

	if (q->extended_l2 && off + bytes == image_size(q->img))
		last = 31;
	return subclusters_mask(first, last - first + 1);
}

/*
 * Changes the entries of a range in one slice, up to a cluster whose entry cannot be changed.
 * *ret_done: how much of it; never less than a cluster.
 */
static int zero_entries(struct qcow2 *q, enum zero_kind kind, struct slice *slice, uint64_t off,
			uint64_t bytes, uint64_t *ret_done) REQUIRES(q->alloc_lock)
{
	unsigned index = qcow2_slice_index(q, off);
	uint64_t part;

	for (*ret_done = 0; *ret_done < bytes; *ret_done += part, off += part, index++) {
		struct l2_entry old = qcow2_slice_load(q, slice, index), new;

		part = MIN(bytes - *ret_done, bytes_to_boundary(off, q->cluster_size));
		if (qcow2_check_entry(q, old))
			return -EIO;
		if (!zero_entry(q, kind, qcow2_cluster_start(q, off), old, range_mask(q, off, part),
				&new)) {
			if (kind == ZERO_DISCARD)
				continue;
			return *ret_done ? 0 : -ENOTSUP;
		}
		if (new.desc == old.desc &&new.bitmap == old.bitmap)
			continue;
		if (!qcow2_has_cluster(q, new.desc)) {
			int ret = qcow2_co_check_unlink(q, old.desc);

			if (ret)
				return ret;
			qcow2_unlink_entry(q, old.desc);
		}
		qcow2_slice_store(q, slice, index, new);
	}
	return 0;
}

/* Punches a hole in the data file where no plan but ours can fill it again. */
static int co_punch_data_file(struct qcow2 *q, uint64_t off, uint64_t bytes) REQUIRES(q->alloc_lock)
{
	struct plan plan = {
		.first_cluster = qcow2_cluster_index(q, off),
		.nr_clusters = qcow2_clusters_for(q, qcow2_in_cluster(q, off) + bytes),
	};
	int ret;

	qcow2_plan_begin(q, &plan);
	co_mutex_unlock(&q->alloc_lock);
	ret = qcow2_co_discard_data(q, off, bytes);
	co_mutex_lock(&q->alloc_lock);
	/* Its entries are changed before the lock is dropped. */
	qcow2_plan_end(q, &plan);
	return ret;
}

/* A missing L2 table is only needed to hide what lies below. */
static bool needs_no_table(struct qcow2 *q, enum zero_kind kind, uint64_t off)
{
	uint32_t l1_index = qcow2_l1_index(q, off);

	if (l1_index < q->l1_size && atomic_load(&q->l1[l1_index]) & QCOW2_OFFSET_MASK)
		return false;
	return nothing_to_hide(q, kind, off) || (kind == ZERO_DISCARD && q->version < 3);
}

/* Waits for plans; then returns the part of a range in one slice that is under none, or nothing. */
static int zero_in_slice(struct qcow2 *q, enum zero_kind kind, struct slice *slice, uint64_t off,
			 uint64_t bytes, uint64_t *ret_done) REQUIRES(q->alloc_lock)
{
	uint64_t in_cluster = qcow2_in_cluster(q, off);
	uint64_t nr = qcow2_clusters_for(q, in_cluster + bytes);
	int ret = 0;

	nr = qcow2_co_wait_for_plans(q, qcow2_cluster_index(q, off), nr);
	*ret_done = 0;
	if (!nr)
		return 0;
	bytes = MIN(bytes, (nr << q->cluster_bits) - in_cluster);
	if (qcow2_has_data_file(q) && (kind == ZERO_DISCARD || kind == ZERO_UNMAP))
		ret = co_punch_data_file(q, off, bytes);
	return ret ?: zero_entries(q, kind, slice, off, bytes, ret_done);
}

/* Handles a range of whole subclusters. *ret_done: how much of it; 0 with success: look again. */
static int co_zero_whole(struct qcow2 *q, enum zero_kind kind, uint64_t off, uint64_t bytes,
			 uint64_t *ret_done)
{
	uint64_t slice_covers = 1ull << (q->cluster_bits + q->slice_bits);
	uint64_t table_covers = 1ull << (q->cluster_bits + q->l2_bits);
	struct slice *slice;
	int ret;

	if (needs_no_table(q, kind, off)) {
		*ret_done = MIN(bytes, bytes_to_boundary(off, table_covers));
		return 0;
	}
	ret = qcow2_co_get_writable_slice(q, off, &slice);
	if (ret)
		return ret;
	bytes = MIN(bytes, bytes_to_boundary(off, slice_covers));
	co_mutex_lock(&q->alloc_lock);
	ret = zero_in_slice(q, kind, slice, off, bytes, ret_done);
	co_mutex_unlock(&q->alloc_lock);
	qcow2_slice_put(slice);
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

/* Whether the backing file, which has something there, reads as zeroes in the range. */
static int co_zero_below(struct qcow2 *q, uint64_t off, uint64_t bytes, bool *ret_zero)
{
	struct image *backing = q->img->backing;
	struct image_extent extent;
	int ret;

	*ret_zero = true;
	for (; *ret_zero && bytes && !qcow2_nothing_below(q, off); off += extent.bytes) {
		bytes = MIN(bytes, image_size(backing) - off);
		ret = image_co_block_status_chain(backing, off, bytes, &extent);
		if (ret)
			return ret;
		*ret_zero = extent.flags & IMAGE_EXTENT_ZERO;
		bytes -= extent.bytes;
	}
	return 0;
}

/*
 * If nothing of the subcluster around the range is in this image, and everything beside the range
 * reads as zeroes, the whole subcluster gets the zero flag. -ENOTSUP: that is not so.
 */
static int co_zero_around(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	uint64_t unit = 1ull << q->subcluster_bits;
	uint64_t start = align_down(off, unit);
	/* While the disk grows, the range lies behind its end. */
	uint64_t end = MAX(off + bytes, MIN(start + unit, image_size(q->img)));
	uint64_t done = 0;
	bool zero;
	int ret;

	ret = co_zero_below(q, start, off - start, &zero);
	if (!ret && zero)
		ret = co_zero_below(q, off + bytes, end - (off + bytes), &zero);
	if (!ret && !zero)
		ret = -ENOTSUP;
	while (!ret && !done)
		ret = co_zero_whole(q, ZERO_EMPTY, start, end - start, &done);
	return ret;
}

/* Handles a part of a subcluster. @may_write: write what no entry can say. */
static int co_zero_part(struct qcow2 *q, enum zero_kind kind, bool may_write, uint64_t off,
			uint64_t bytes)
{
	struct mapping map;
	int ret;

	if (kind == ZERO_DISCARD)
		return 0;
	if (kind == ZERO_HIDE)
		return may_write ? co_write_zero_buffer(q, off, bytes) : -ENOTSUP;
	ret = qcow2_co_lookup(q, off, bytes, &map);
	if (ret || qcow2_mapping_is_zero(q, &map, off))
		return ret;
	if (map.type == MAPPING_UNALLOCATED || map.type == MAPPING_HOLE) {
		ret = co_zero_around(q, off, bytes);
		if (ret != -ENOTSUP)
			return ret;
	}
	return may_write ? co_write_zero_buffer(q, off, bytes) : -ENOTSUP;
}

static int co_zero_range(struct qcow2 *q, enum zero_kind kind, bool may_write, uint64_t off,
			 uint64_t bytes)
{
	uint64_t unit = 1ull << q->subcluster_bits;
	uint64_t end = off + bytes, done;
	/*
	 * The image's last unit counts as whole if the range covers all of it that the guest sees.
	 */
	uint64_t whole_end = end == image_size(q->img) ? end : align_down(end, unit);
	int ret;

	for (; off < end; off += done) {
		if (off & (unit - 1) || off >= whole_end) {
			done = MIN(end - off, bytes_to_boundary(off, unit));
			ret = co_zero_part(q, kind, may_write, off, done);
		} else {
			ret = co_zero_whole(q, kind, off, whole_end - off, &done);
			if (ret == -ENOTSUP && may_write) {
				done = MIN(end - off, bytes_to_boundary(off, q->cluster_size));
				ret = co_write_zero_buffer(q, off, done);
			}
		}
		if (ret)
			return ret;
	}
	return 0;
}

static int co_zero_any(struct qcow2 *q, enum zero_kind kind, bool may_write, uint64_t off,
		       uint64_t bytes)
{
	if (!q->data_file_raw)
		return co_zero_range(q, kind, may_write, off, bytes);
	if (kind == ZERO_DISCARD)
		return qcow2_co_discard_data(q, off, bytes);
	return qcow2_co_zero_data(q, off, bytes,
				  (kind == ZERO_UNMAP ? IMAGE_REQ_MAY_UNMAP : 0) |
					  (may_write ? 0 : IMAGE_REQ_NO_FALLBACK));
}

int qcow2_co_zero_range(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	return co_zero_any(q, ZERO_UNMAP, true, off, bytes);
}

int qcow2_co_zero_empty(struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	int ret = 0;

	for (uint64_t done; !ret && bytes; off += done, bytes -= done)
		ret = co_zero_whole(q, ZERO_EMPTY, off, bytes, &done);
	return ret;
}

static int co_zero_request_part(struct qcow2 *q, enum zero_kind kind, bool may_write, uint64_t off,
				uint64_t bytes)
{
	uint64_t epoch = qcow2_co_request_begin(q);
	int ret =
		qcow2_co_begin_change(q, off, bytes) ?: co_zero_any(q, kind, may_write, off, bytes);

	qcow2_request_end(q, epoch);
	return ret;
}

static int co_zero_request(struct image *img, enum zero_kind kind, bool may_write, uint64_t off,
			   uint64_t bytes)
{
	struct qcow2 *q = img->opaque;
	uint64_t most = (uint64_t)PART_CLUSTERS << q->cluster_bits;
	uint64_t part;
	int ret = 0;

	for (; bytes && !ret; off += part, bytes -= part) {
		part = MIN(bytes, bytes_to_boundary(off, most));
		ret = co_zero_request_part(q, kind, may_write, off, part)
			      ?: qcow2_co_make_room(img);
	}
	/* A guest that never flushes still gets its space back. */
	if (!ret && atomic_load(&q->nr_unlinked) >= RECLAIM_AT_BYTES >> q->cluster_bits)
		ret = qcow2_co_flush(img);
	return ret;
}

int qcow2_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	return co_zero_request(img, ZERO_DISCARD, true, off, bytes);
}

int qcow2_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	enum zero_kind kind = flags & IMAGE_REQ_HIDE	    ? ZERO_HIDE
			      : flags & IMAGE_REQ_MAY_UNMAP ? ZERO_UNMAP
							    : ZERO_KEEP;

	return co_zero_request(img, kind, !(flags & IMAGE_REQ_NO_FALLBACK), off, bytes);
}
