// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Grows and shrinks the disk, with struct_lock held for writing, so that no request is in flight.
 *
 * To grow: a longer L1 table is written beside the old one, and the header names it; then
 * everything that will be added is made to read as zeroes; then the header gets the new size. A
 * program that finds the old size after a power cut sees nothing of this.
 *
 * Shrinking goes the other way: the new size is durable before the first reference is given up.
 * What a power cut leaves behind the end of the disk is still referenced, and growing makes it
 * zero.
 */
#include "qcow2.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"

static int failed(int ret, const char *what, GError **err)
{
	if (ret)
		error_set(err, ret, "cannot %s", what);
	return ret;
}

static uint64_t cluster_end(const struct qcow2 *q, uint64_t off)
{
	return qcow2_clusters_for(q, off) << q->cluster_bits;
}

static int co_write_size(struct qcow2 *q, uint64_t size, GError **err)
{
	uint64_t old = image_size(q->img);
	int ret;

	co_mutex_lock(&q->alloc_lock);
	atomic_store(&q->img->size, size);
	ret = qcow2_co_update_header(q, err);
	if (ret) {
		atomic_store(&q->img->size, old);
		qcow2_co_settle_header(q);
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

/* ---- the L1 table ---- */

/* A longer L1 table, while it is being made. */
struct new_l1 {
	uint32_t size;
	uint64_t off;
	_Atomic uint64_t *entries;
	uint64_t *disk;
};

static int new_l1_init(struct qcow2 *q, struct new_l1 *new, uint32_t size)
{
	new->size = size;
	new->entries = g_try_new0(_Atomic uint64_t, size);
	new->disk = try_iobuf_alloc0(size * sizeof(uint64_t));
	if (!new->entries || !new->disk)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->l1_size; i++) {
		uint64_t entry = atomic_load(&q->l1[i]);

		atomic_store(&new->entries[i], entry);
		new->disk[i] = htobe64(entry);
	}
	return 0;
}

static void new_l1_clear(struct new_l1 *new)
{
	g_free((void *)new->entries);
	iobuf_free(new->disk);
}

/* Everything was flushed: the entries in memory are those on disk. */
static int new_l1_co_write(struct qcow2 *q, struct new_l1 *new) REQUIRES(q->alloc_lock)
{
	uint64_t nr = qcow2_clusters_for(q, new->size * sizeof(uint64_t));
	int ret;

	image_co_event(q->file, IMAGE_EVENT_L1_GROW_ALLOC_TABLE);
	ret = qcow2_co_alloc_contiguous(q, nr, &new->off);
	if (ret)
		return ret;
	image_co_event(q->file, IMAGE_EVENT_L1_GROW_WRITE_TABLE);
	/* C1: its refcount is on disk before the header names it. */
	ret = image_co_pwrite(q->file, new->off, new->size * sizeof(uint64_t), new->disk, 0)
		      ?: qcow2_co_write_refcounts(q);
	if (ret)
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, new->off), nr);
	return ret;
}

/* The header names it; then the old one is given up (C4). */
static int new_l1_co_settle(struct qcow2 *q, struct new_l1 *new, GError **err)
	REQUIRES(q->flush_lock, q->alloc_lock)
{
	uint64_t old_off = q->l1_off;
	uint32_t old_size = q->l1_size;
	uint64_t old_nr = qcow2_clusters_for(q, old_size * sizeof(uint64_t));
	int ret;

	image_co_event(q->file, IMAGE_EVENT_L1_GROW_ACTIVATE_TABLE);
	q->l1_off = new->off;
	q->l1_size = new->size;
	ret = qcow2_co_update_header(q, err);
	if (ret) {
		q->l1_off = old_off;
		q->l1_size = old_size;
		/* Otherwise the header on disk may name the new table: it leaks. */
		if (!qcow2_co_settle_header(q))
			qcow2_co_put_clusters(q, qcow2_cluster_index(q, new->off),
					      qcow2_clusters_for(q, new->size * sizeof(uint64_t)));
		return ret;
	}
	qcow2_refcounts_synced(q, true);
	g_free((void *)q->l1);
	iobuf_free(q->l1_disk);
	q->l1 = g_steal_pointer(&new->entries);
	q->l1_disk = g_steal_pointer(&new->disk);
	qcow2_add_metadata(q, METADATA_L1, qcow2_cluster_index(q, new->off),
			   qcow2_clusters_for(q, new->size * sizeof(uint64_t)));
	qcow2_remove_metadata(q, qcow2_cluster_index(q, old_off), old_nr);
	qcow2_co_put_clusters(q, qcow2_cluster_index(q, old_off), old_nr);
	return 0;
}

static int co_grow_l1(struct qcow2 *q, uint32_t size, GError **err)
{
	struct new_l1 new = { 0 };
	uint32_t old_size = q->l1_size;
	int ret;

	ret = image_memory_take(q->img, qcow2_l1_memory(size), "the L1 table", err);
	if (ret)
		return ret;
	ret = failed(new_l1_init(q, &new, size), "grow the L1 table", err);
	if (!ret) {
		co_mutex_lock(&q->flush_lock);
		co_mutex_lock(&q->alloc_lock);
		ret = failed(new_l1_co_write(q, &new), "grow the L1 table", err)
			      ?: new_l1_co_settle(q, &new, err);
		co_mutex_unlock(&q->alloc_lock);
		co_mutex_unlock(&q->flush_lock);
	}
	image_memory_put(q->img, qcow2_l1_memory(ret ? size : old_size));
	new_l1_clear(&new);
	return ret;
}

/* ---- growth ---- */

static int check_l1_size(const struct qcow2 *q, uint64_t size, uint64_t *ret_entries, GError **err)
{
	uint64_t covers = 1ull << (q->cluster_bits + q->l2_bits);

	*ret_entries = size / covers + (size % covers != 0);
	if (*ret_entries * sizeof(uint64_t) <= QCOW2_MAX_L1_BYTES)
		return 0;
	return error_refuse(
		err, -EFBIG,
		"size %" PRIu64 " is too large for cluster_size %" PRIu32 ", which allows %" PRIu64,
		size, q->cluster_size, covers * (QCOW2_MAX_L1_BYTES / sizeof(uint64_t)));
}

/* Table by table, since tables of a larger past may be full of clusters. */
static int co_zero_added(struct qcow2 *q, uint64_t off, uint64_t end)
{
	uint64_t table_covers = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t part;
	int ret = 0;

	/* Tables contain nothing there. */
	if (q->data_file_raw)
		return qcow2_co_zero_range(q, off, end - off);
	for (; off < end && !ret; off += part) {
		part = MIN(end - off, bytes_to_boundary(off, table_covers));
		ret = qcow2_co_zero_range(q, off, part) ?: qcow2_co_make_room_alone(q);
	}
	return ret;
}

/*
 * Makes what is added zero, whatever the last cluster, older tables and the backing file contain. A
 * raw data file has the disk as it is, so all of it is allocated there.
 */
static int co_fill(struct qcow2 *q, uint64_t old, uint64_t size, enum image_preallocation mode)
{
	uint64_t end = q->data_file_raw ? size : cluster_end(q, size);
	int ret = 0;

	if (q->data_file_raw && mode == IMAGE_PREALLOC_OFF)
		mode = IMAGE_PREALLOC_METADATA;
	if (qcow2_has_data_file(q))
		ret = image_co_truncate(q->data_file, size);
	ret = ret ?: co_zero_added(q, old, end);
	/* The cluster with the old end may show what is below. */
	if (!ret && mode != IMAGE_PREALLOC_OFF)
		ret = qcow2_co_preallocate(q, cluster_end(q, old), size, mode);
	return ret ?: qcow2_co_flush_all(q);
}

int qcow2_co_cover(struct qcow2 *q, uint64_t size, GError **err)
{
	uint64_t entries;
	int ret = check_l1_size(q, size, &entries, err);

	return ret || entries <= q->l1_size ? ret : co_grow_l1(q, entries, err);
}

static int co_grow(struct qcow2 *q, uint64_t size, enum image_preallocation mode, GError **err)
{
	uint64_t old = image_size(q->img);
	int ret = qcow2_co_cover(q, size, err);

	return ret ?: failed(co_fill(q, old, size, mode), "grow the image", err)
		       ?: co_write_size(q, size, err);
}

/* ---- shrinking ---- */

/* Gives up the entries of a slice from @index on. */
static int forget_entries(struct qcow2 *q, struct slice *slice, unsigned index)
	REQUIRES(q->alloc_lock)
{
	for (unsigned i = index; i < 1u << q->slice_bits; i++) {
		struct l2_entry old = qcow2_slice_load(q, slice, i);
		int ret = qcow2_co_check_unlink(q, old.desc);

		if (ret)
			return ret;
		if (!old.desc && !old.bitmap)
			continue;
		qcow2_slice_store(q, slice, i, (struct l2_entry){ 0 });
		qcow2_unlink_entry(q, old.desc);
	}
	return 0;
}

/* Gives up the entries from @off to the end of its L2 table. */
static int co_forget_rest(struct qcow2 *q, uint64_t off)
{
	uint64_t slice_covers = 1ull << (q->cluster_bits + q->slice_bits);
	uint64_t table_covers = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t end = (off | (table_covers - 1)) + 1;
	struct slice *slice;
	int ret = 0;

	for (; off < end && !ret; off = (off | (slice_covers - 1)) + 1) {
		ret = qcow2_co_get_writable_slice(q, off, &slice);
		if (ret)
			return ret;
		co_mutex_lock(&q->alloc_lock);
		ret = forget_entries(q, slice, qcow2_slice_index(q, off));
		co_mutex_unlock(&q->alloc_lock);
		qcow2_slice_put(slice);
	}
	return ret;
}

/* @table: NULL if it is empty. */
static int unlink_table(struct qcow2 *q, uint32_t l1_index, uint64_t l2_off, const uint64_t *table)
	REQUIRES(q->alloc_lock)
{
	uint64_t nr = table ? 1ull << q->l2_bits : 0;

	for (uint64_t i = 0; i < nr; i++) {
		int ret = qcow2_co_check_unlink(q, qcow2_l2_table_entry(q, table, i).desc);

		if (ret)
			return ret;
	}
	for (uint64_t i = 0; i < nr; i++)
		qcow2_unlink_entry(q, qcow2_l2_table_entry(q, table, i).desc);
	qcow2_l1_store(q, l1_index, 0);
	qcow2_unlink_clusters(q, qcow2_cluster_index(q, l2_off), 1, true);
	return 0;
}

/*
 * Gives up a whole L2 table and everything it names. It is read before anything is given up (C6).
 * @buf: room for one table.
 */
static int co_forget_table(struct qcow2 *q, struct hole *hole, uint32_t l1_index, uint64_t *buf)
{
	uint64_t l2_off = atomic_load(&q->l1[l1_index]) & QCOW2_OFFSET_MASK;
	bool empty = qcow2_co_is_hole(q, hole, l2_off, q->cluster_size);
	int ret;

	image_co_event(q->file, IMAGE_EVENT_L1_SHRINK_FREE_L2_CLUSTERS);
	ret = empty ? 0 : image_co_pread(q->file, l2_off, q->cluster_size, buf);
	if (!ret) {
		co_mutex_lock(&q->alloc_lock);
		ret = unlink_table(q, l1_index, l2_off, empty ? NULL : buf);
		co_mutex_unlock(&q->alloc_lock);
	}
	if (!ret)
		qcow2_l2_cache_forget_table(q, l2_off);
	return ret;
}

static bool has_table(const struct qcow2 *q, uint32_t l1_index)
{
	return l1_index < q->l1_size && atomic_load(&q->l1[l1_index]) & QCOW2_OFFSET_MASK;
}

/* Gives up whole tables, from an L1 index on. What was given up must not fill the memory. */
static int co_forget_tables(struct qcow2 *q, uint32_t index)
{
	uint64_t *buf = try_iobuf_alloc(q->cluster_size);
	struct hole hole = { 0 };
	int ret = buf ? 0 : -ENOMEM;

	for (; !ret && index < q->l1_size; index++) {
		if (!has_table(q, index))
			continue;
		ret = co_forget_table(q, &hole, index, buf) ?: qcow2_co_make_room_alone(q);
	}
	iobuf_free(buf);
	return ret;
}

/* Gives up everything behind the end of the disk, whose size is durable. */
static int co_forget(struct qcow2 *q, uint64_t size)
{
	uint64_t table_covers = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t off = cluster_end(q, size);
	uint32_t index = qcow2_l1_index(q, off);
	int ret = 0;

	image_co_event(q->file, IMAGE_EVENT_L1_SHRINK_WRITE_TABLE);
	if (!is_aligned(off, table_covers)) {
		if (has_table(q, index))
			ret = co_forget_rest(q, off);
		index++;
	}
	return ret ?: co_forget_tables(q, index) ?: qcow2_co_flush_and_reclaim(q);
}

int qcow2_co_cut_file(struct qcow2 *q)
{
	uint64_t file_end = qcow2_clusters_for(q, image_size(q->file)), end = file_end;
	struct hole hole = { 0 };
	int ret;

	co_mutex_lock(&q->alloc_lock);
	/* With lazy refcounts the flush left them in memory. */
	ret = qcow2_co_write_refcounts(q) ?: qcow2_co_find_end(q, &hole, &end);
	if (!ret && end < file_end)
		ret = qcow2_co_check_overlap_locked(q, end, file_end - end);
	if (!ret && end << q->cluster_bits < image_size(q->file))
		ret = image_co_truncate(q->file, end << q->cluster_bits);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static int co_shrink(struct qcow2 *q, uint64_t size, GError **err)
{
	int ret = co_write_size(q, size, err);

	if (!ret && qcow2_has_data_file(q))
		ret = failed(image_co_truncate(q->data_file, size), "shrink the data file", err);
	return ret ?: failed(co_forget(q, size) ?: qcow2_co_cut_file(q), "shrink the image", err);
}

/* ---- both ---- */

static int check_resize(struct qcow2 *q, uint64_t size, GError **err)
{
	if (size % SECTOR_SIZE)
		return error_refuse(err, -EINVAL, "The new size must be a multiple of 512");
	if (q->version < 3 && q->nr_snapshots)
		return error_refuse(err, -ENOTSUP,
				    "can't resize a version 2 image which has snapshots");
	return 0;
}

int qcow2_co_resize_locked(struct qcow2 *q, uint64_t size, enum image_preallocation mode,
			   GError **err)
{
	uint64_t old = image_size(q->img);
	int ret = check_resize(q, size, err);

	if (!ret)
		ret = failed(qcow2_co_flush_all(q), "flush the image", err);
	if (!ret && size != old)
		ret = qcow2_co_bitmaps_resize(q, size, err);
	if (!ret && size > old)
		ret = co_grow(q, size, mode, err);
	else if (!ret && size < old)
		ret = co_shrink(q, size, err);
	return ret;
}

int qcow2_co_resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err)
{
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_wrlock(&q->struct_lock);
	ret = qcow2_co_resize_locked(q, size, mode, err);
	co_rwlock_wrunlock(&q->struct_lock);
	return ret;
}
