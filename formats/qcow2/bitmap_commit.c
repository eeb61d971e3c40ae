// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bitmaps: how their new state reaches the disk; bitmap.h has the steps.
 *
 * Nothing that the header names is overwritten: what changed is written to new clusters, and the
 * old clusters are given back once nothing names them any more. A power cut in between leaves
 * leaks.
 */
#include "bitmap.h"

#include <string.h>

struct commit {
	struct qcow2 *q;
	GPtrArray *next;
	GHashTable *old; /* name -> struct bitmap, of the image */
	GArray *added;	 /* struct freed_run: what only the new directory names */
	GArray *dropped; /* struct freed_run: what only the old directory names */
	struct bitmaps_extension ext;
};

/* ---- clusters ---- */

static void note_run(const struct commit *c, GArray *runs, uint64_t host_off, uint64_t bytes)
{
	struct freed_run run = {
		.cluster = qcow2_cluster_index(c->q, host_off),
		.nr_clusters = qcow2_clusters_for(c->q, bytes),
	};

	if (bytes)
		g_array_append_val(runs, run);
}

/* Nothing on disk names them: if their refcounts cannot be written, they leak. */
static void put_runs(struct qcow2 *q, const GArray *runs) REQUIRES(q->alloc_lock)
{
	for (guint i = 0; i < runs->len; i++) {
		const struct freed_run *run = &g_array_index(runs, struct freed_run, i);

		qcow2_remove_metadata(q, run->cluster, run->nr_clusters);
		qcow2_co_put_clusters(q, run->cluster, run->nr_clusters);
	}
}

/* Allocates contiguous clusters: takes runs until one is long enough, and puts the others back. */
static int co_take_contiguous(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock)
{
	g_autoptr(GArray) short_runs = g_array_new(FALSE, FALSE, sizeof(struct freed_run));
	uint64_t host_off, taken;
	bool fresh;
	int ret;

	for (;;) {
		struct freed_run run;

		ret = qcow2_co_alloc_clusters(q, nr, &host_off, &taken, &fresh);
		if (ret || taken == nr)
			break;
		run.cluster = qcow2_cluster_index(q, host_off);
		run.nr_clusters = taken;
		g_array_append_val(short_runs, run);
	}
	for (guint i = 0; i < short_runs->len; i++) {
		const struct freed_run *run = &g_array_index(short_runs, struct freed_run, i);

		qcow2_co_put_clusters(q, run->cluster, run->nr_clusters);
	}
	if (!ret)
		*ret_host_off = host_off;
	return ret;
}

/* Writes @buf, a multiple of the cluster size, to new clusters. */
static int co_write_new(struct commit *c, const void *buf, uint64_t bytes, uint64_t *ret_host_off)
{
	struct qcow2 *q = c->q;
	uint64_t nr = qcow2_clusters_for(q, bytes), host_off;
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = co_take_contiguous(q, nr, &host_off);
	if (!ret)
		qcow2_add_metadata(q, METADATA_BITMAPS, qcow2_cluster_index(q, host_off), nr);
	co_mutex_unlock(&q->alloc_lock);
	if (ret)
		return ret;
	note_run(c, c->added, host_off, bytes);
	*ret_host_off = host_off;
	return image_co_pwrite(q->file, host_off, bytes, buf, 0);
}

/* ---- the bits of one bitmap ---- */

/* "... unused tail bits. These bits must be zero." */
static void clear_tail(const struct qcow2 *q, const struct bitmap *bitmap, uint64_t pos,
		       uint8_t *buf)
{
	uint64_t granularity = 1ull << bitmap->granularity_bits;
	uint64_t size = image_size(q->img);
	uint64_t nr_bits = size / granularity + (size % granularity != 0);
	uint64_t first_byte = nr_bits / 8;

	if (first_byte >= pos + q->cluster_size)
		return;
	if (nr_bits % 8) {
		buf[first_byte - pos] &= (1u << nr_bits % 8) - 1;
		first_byte++;
	}
	memset(buf + (first_byte - pos), 0, q->cluster_size - (first_byte - pos));
}

static bool is_all_ones(const uint8_t *buf, size_t bytes)
{
	return buf[0] == 0xff && memcmp(buf, buf + 1, bytes - 1) == 0;
}

/*
 * Moves a table entry to a new cluster that also has the bits of @fresh (may be NULL). @bufs: room
 * for two clusters.
 */
static int co_store_cluster(struct commit *c, const struct bitmap *bitmap,
			    const struct dirty_bits *fresh, uint64_t index, uint64_t *entry,
			    uint8_t *bufs)
{
	struct qcow2 *q = c->q;
	uint8_t *old = bufs, *new = bufs + q->cluster_size;
	uint64_t pos = index << q->cluster_bits, old_entry = *entry;
	int ret = qcow2_bitmap_co_read_cluster(q, old_entry, old);

	if (ret)
		return ret;
	memcpy(new, old, q->cluster_size);
	if (fresh)
		dirty_bits_get(fresh, pos, new, q->cluster_size);
	clear_tail(q, bitmap, pos, new);
	if (memcmp(new, old, q->cluster_size) == 0)
		return 0;
	if (buffer_is_zero(new, q->cluster_size))
		*entry = 0;
	else if (is_all_ones(new, q->cluster_size))
		*entry = QCOW2_BITMAP_TABLE_ALL_ONES;
	else
		ret = co_write_new(c, new, q->cluster_size, entry);
	if (!ret && old_entry & QCOW2_OFFSET_MASK)
		note_run(c, c->dropped, old_entry & QCOW2_OFFSET_MASK, q->cluster_size);
	return ret;
}

/*
 * Fills @table, of @nr entries, from the old table and the fresh bits. *ret_changed: they differ.
 */
static int co_store_bits(struct commit *c, const struct bitmap *bitmap,
			 const struct dirty_bits *fresh, uint64_t *table, uint64_t nr,
			 bool *ret_changed)
{
	struct qcow2 *q = c->q;
	uint8_t *bufs = try_iobuf_alloc(2 * (size_t)q->cluster_size);
	uint64_t *old = NULL;
	int ret = bufs ? qcow2_bitmap_co_read_table(q, bitmap, &old) : -ENOMEM;

	*ret_changed = bitmap->table_entries != nr;
	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t entry = i < bitmap->table_entries ? old[i] : 0, before = entry;

		if ((fresh && dirty_bits_any(fresh, i << q->cluster_bits, q->cluster_size)) ||
		    (bitmap->resized && i == nr - 1))
			ret = co_store_cluster(c, bitmap, fresh, i, &entry, bufs);
		*ret_changed |= entry != before;
		table[i] = htobe64(entry);
	}
	for (uint64_t i = nr; i < bitmap->table_entries && !ret; i++)
		if (old[i] & QCOW2_OFFSET_MASK)
			note_run(c, c->dropped, old[i] & QCOW2_OFFSET_MASK, q->cluster_size);
	iobuf_free(old);
	iobuf_free(bufs);
	return ret;
}

static int co_store_bitmap(struct commit *c, struct bitmap *bitmap, const struct dirty_bits *fresh)
{
	struct qcow2 *q = c->q;
	uint64_t nr = qcow2_bitmap_table_entries(q, bitmap->granularity_bits);
	uint64_t bytes = qcow2_clusters_for(q, nr * sizeof(uint64_t)) << q->cluster_bits;
	uint64_t *table = try_iobuf_alloc0(MAX(bytes, 1));
	uint64_t table_off = 0;
	bool changed;
	int ret;

	if (!table)
		return -ENOMEM;
	ret = co_store_bits(c, bitmap, fresh, table, nr, &changed);
	if (!ret && changed && nr)
		ret = co_write_new(c, table, bytes, &table_off);
	if (!ret && changed) {
		note_run(c, c->dropped, bitmap->table_off,
			 bitmap->table_entries * sizeof(uint64_t));
		bitmap->table_off = table_off;
		bitmap->table_entries = nr;
	}
	iobuf_free(table);
	return ret;
}

/* ---- all of them ---- */

/* Gives up the bits and the table of a removed bitmap. */
static int co_drop_bitmap(struct commit *c, const struct bitmap *bitmap)
{
	struct qcow2 *q = c->q;
	uint64_t *table;
	int ret = qcow2_bitmap_co_read_table(q, bitmap, &table);

	if (ret)
		return ret;
	for (uint32_t i = 0; i < bitmap->table_entries; i++)
		if (qcow2_bitmap_table_entry_is_valid(q, table[i]) && table[i] & QCOW2_OFFSET_MASK)
			note_run(c, c->dropped, table[i] & QCOW2_OFFSET_MASK, q->cluster_size);
	note_run(c, c->dropped, bitmap->table_off, bitmap->table_entries * sizeof(uint64_t));
	iobuf_free(table);
	return 0;
}

static GHashTable *index_by_name(const GPtrArray *list)
{
	GHashTable *index = g_hash_table_new(g_str_hash, g_str_equal);

	for (guint i = 0; i < list->len; i++)
		g_hash_table_insert(index, ((struct bitmap *)list->pdata[i])->name, list->pdata[i]);
	return index;
}

/* Writes tables and bits of new and changed bitmaps; gives up those of removed and cleared ones. */
static int co_store_bitmaps(struct qcow2 *q, struct commit *c) REQUIRES(q->struct_lock)
{
	g_autoptr(GHashTable) old_by_name = index_by_name(q->bitmaps);
	GHashTableIter iter;
	void *gone;
	int ret = 0;

	for (guint i = 0; i < c->next->len && !ret; i++) {
		struct bitmap *bitmap = c->next->pdata[i];
		struct bitmap *old = g_hash_table_lookup(old_by_name, bitmap->name);

		if (old && old->table_off && !bitmap->table_off)
			ret = co_drop_bitmap(c, old);
		g_hash_table_remove(old_by_name, bitmap->name);
		if (!ret && !qcow2_bitmap_is_inconsistent(bitmap))
			ret = co_store_bitmap(c, bitmap, bitmap->fresh ?: old ? old->fresh : NULL);
	}
	g_hash_table_iter_init(&iter, old_by_name);
	while (!ret && g_hash_table_iter_next(&iter, NULL, &gone))
		ret = co_drop_bitmap(c, gone);
	return ret;
}

static int co_store_directory(struct commit *c)
{
	struct qcow2 *q = c->q;
	uint8_t *dir;
	int ret;

	if (qcow2_has_bitmaps(q))
		note_run(c, c->dropped, q->bitmaps_ext.directory_off,
			 q->bitmaps_ext.directory_bytes);
	if (!c->next->len)
		return 0;
	c->ext = (struct bitmaps_extension){
		.present = true,
		.bytes = sizeof(struct qcow2_disk_bitmaps),
		.nr = c->next->len,
	};
	dir = qcow2_bitmap_directory_build(c->next, q->cluster_size, &c->ext.directory_bytes);
	if (!dir)
		return -ENOMEM;
	ret = co_write_new(c, dir, qcow2_clusters_for(q, c->ext.directory_bytes) << q->cluster_bits,
			   &c->ext.directory_off);
	iobuf_free(dir);
	return ret;
}

/* The header has not been written yet: nothing has changed on disk that counts. */
static int co_commit_prepare(struct qcow2 *q, struct commit *c, GError **err)
	REQUIRES(q->struct_lock)
{
	return co_store_bitmaps(q, c) ?:
	       qcow2_bitmaps_make_tracked(q, c->next, c->old, err) ?:
	       co_store_directory(c) ?:
	       /* C1, C3 */
	       qcow2_co_flush_all(q);
}

/* ---- the switch ---- */

static void set_extension(struct qcow2 *q, const struct bitmaps_extension *ext)
	REQUIRES(q->alloc_lock)
{
	const struct qcow2_disk_bitmaps disk = {
		.nb_bitmaps = htobe32(ext->nr),
		.bitmap_directory_size = htobe64(ext->directory_bytes),
		.bitmap_directory_offset = htobe64(ext->directory_off),
	};

	q->bitmaps_ext = *ext;
	qcow2_set_extension(q, QCOW2_EXT_BITMAPS, ext->present ? &disk : NULL, sizeof(disk));
	q->autoclear_features &= ~QCOW2_AUTOCLEAR_BITMAPS;
	if (ext->present)
		q->autoclear_features |= QCOW2_AUTOCLEAR_BITMAPS;
}

/* C4: once the directory that named them is gone from disk, what only it named is free. */
static int co_switch(struct qcow2 *q, const struct commit *c, GError **err) REQUIRES(q->alloc_lock)
{
	const struct bitmaps_extension old = q->bitmaps_ext;
	int ret;

	set_extension(q, &c->ext);
	ret = qcow2_co_update_header(q, err);
	qcow2_refcounts_synced(q, ret == 0);
	if (!ret) {
		put_runs(q, c->dropped);
		/* Otherwise they leak. */
		qcow2_co_write_refcounts(q);
		return 0;
	}
	set_extension(q, &old);
	/* Otherwise the header on disk may name the new directory: what only it names leaks. */
	if (!qcow2_co_settle_header(q))
		put_runs(q, c->added);
	return ret;
}

/* Everything in @next is on disk. */
static void adopt_next(struct qcow2 *q, const struct commit *c) REQUIRES(q->struct_lock)
{
	for (guint i = 0; i < c->next->len; i++) {
		struct bitmap *bitmap = c->next->pdata[i];

		bitmap->resized = false;
		if (!qcow2_bitmap_is_tracked(bitmap)) {
			qcow2_bitmap_drop_fresh(bitmap);
			continue;
		}
		if (!bitmap->fresh) {
			bitmap->fresh = g_steal_pointer(
				&qcow2_bitmap_predecessor(q, c->old, bitmap)->fresh);
			bitmap->img = q->img;
		}
		dirty_bits_clear_all(bitmap->fresh);
	}
	qcow2_bitmaps_adopt(q, c->next);
}

static int co_commit(struct qcow2 *q, struct commit *c, GError **err) REQUIRES(q->struct_lock)
{
	int ret = co_commit_prepare(q, c, err);

	co_mutex_lock(&q->alloc_lock);
	/*
	 * C1: with lazy refcounts the flush left them in memory. The switch begins with another
	 * flush.
	 */
	if (!ret)
		ret = qcow2_co_write_refcounts(q);
	if (ret && err && !*err)
		g_set_error(err, UBD_ERROR, -ret, "%s", g_strerror(-ret));
	if (ret)
		put_runs(q, c->added);
	else
		ret = co_switch(q, c, err);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

int qcow2_bitmaps_co_commit(struct qcow2 *q, GPtrArray *next, GError **err)
{
	struct commit c = {
		.q = q,
		.next = next,
		.old = index_by_name(q->bitmaps),
		.added = g_array_new(FALSE, FALSE, sizeof(struct freed_run)),
		.dropped = g_array_new(FALSE, FALSE, sizeof(struct freed_run)),
	};
	int ret = co_commit(q, &c, err);

	if (ret)
		g_ptr_array_unref(next);
	else
		adopt_next(q, &c);
	g_hash_table_unref(c.old);
	g_array_unref(c.added);
	g_array_unref(c.dropped);
	return ret;
}
