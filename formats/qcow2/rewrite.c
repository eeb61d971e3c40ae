// SPDX-License-Identifier: GPL-2.0-or-later
/* Changes several tables as one; see rewrite.h. */
#include "rewrite.h"

#include <string.h>

struct table_change {
	uint64_t first_cluster;
	uint64_t nr_clusters;
	enum metadata_kind kind;
	int delta;
};

static uint64_t per_block(const struct qcow2 *q)
{
	return 1ull << q->refblock_bits;
}

/* ---- begin and end ---- */

static int block_new(const struct qcow2 *q, struct rewrite_block *block)
{
	block->counts = try_iobuf_alloc0(q->cluster_size);
	block->was_used = g_try_malloc0((per_block(q) + 7) / 8);
	return block->counts && block->was_used ? 0 : -ENOMEM;
}

static int block_co_load(struct qcow2 *q, struct rewrite_block *block, uint64_t host_off)
{
	int ret = block_new(q, block);

	if (!ret)
		ret = image_co_pread(q->file, host_off, q->cluster_size, block->counts);
	for (uint64_t i = 0; i < per_block(q) && !ret; i++)
		if (qcow2_refcount_load(q->refcount_order, block->counts, i))
			block->was_used[i / 8] |= 1u << (i % 8);
	return ret;
}

/* For all refcount blocks, and some more for the clusters that will be taken. */
static int take_memory(struct qcow2 *q, struct rewrite *rw, GError **err) REQUIRES(q->alloc_lock)
{
	uint64_t nr = 2, bytes;
	int ret;

	for (uint64_t i = 0; i < q->reftable_size; i++)
		nr += q->reftable[i] != 0;
	bytes = nr * (q->cluster_size + per_block(q) / 8) +
		q->reftable_size * sizeof(struct rewrite_block);
	ret = qcow2_take_memory(q, bytes, "a copy of all refcounts", err);
	if (!ret)
		rw->memory = bytes;
	return ret;
}

int qcow2_rewrite_co_begin(struct qcow2 *q, struct rewrite *rw, GError **err)
{
	int ret;

	*rw = (struct rewrite){
		.tables = g_array_new(FALSE, FALSE, sizeof(struct table_change)),
		.punch = q->unmap_snapshots,
	};
	qcow2_get_roots(q, &rw->roots);
	ret = take_memory(q, rw, err);
	if (ret)
		return ret;
	rw->blocks = g_try_new0(struct rewrite_block, q->reftable_size);
	if (!rw->blocks)
		return -ENOMEM;
	rw->nr_blocks = q->reftable_size;
	/* With lazy refcounts the flush before left them in memory. */
	ret = qcow2_co_write_refcounts(q);
	for (uint64_t i = 0; i < q->reftable_size && !ret; i++) {
		if (!q->reftable[i])
			continue;
		ret = block_co_load(q, &rw->blocks[i], q->reftable[i]);
	}
	return ret;
}

void qcow2_rewrite_end(struct qcow2 *q, struct rewrite *rw)
{
	image_memory_put(q->img, rw->memory);
	for (uint64_t i = 0; i < rw->nr_blocks; i++) {
		iobuf_free(rw->blocks[i].counts);
		g_free(rw->blocks[i].was_used);
	}
	g_free(rw->blocks);
	g_free(rw->l1);
	g_array_unref(rw->tables);
}

/* ---- refcounts ---- */

uint64_t qcow2_rewrite_refcount(const struct qcow2 *q, const struct rewrite *rw, uint64_t cluster)
{
	uint64_t index = cluster >> q->refblock_bits;

	if (index >= rw->nr_blocks || !rw->blocks[index].counts)
		return 0;
	return qcow2_refcount_load(q->refcount_order, rw->blocks[index].counts,
				   cluster & (per_block(q) - 1));
}

/* The refcount of a cluster whose block exists. */
static void set_refcount(const struct qcow2 *q, struct rewrite *rw, uint64_t cluster,
			 uint64_t refcount)
{
	qcow2_refcount_store(q->refcount_order, rw->blocks[cluster >> q->refblock_bits].counts,
			     cluster & (per_block(q) - 1), refcount);
}

int qcow2_rewrite_count(const struct qcow2 *q, struct rewrite *rw, uint64_t first_cluster,
			uint64_t nr, int delta)
{
	uint64_t max = UINT64_MAX >> (64 - (1u << q->refcount_order));

	for (uint64_t i = first_cluster; i < first_cluster + nr; i++) {
		uint64_t refcount = qcow2_rewrite_refcount(q, rw, i);

		/* It has a reference; otherwise nobody would drop one. */
		if (!refcount)
			return -EUCLEAN;
		if (delta > 0 && refcount == max)
			return -EOVERFLOW;
		set_refcount(q, rw, i, refcount + delta);
	}
	return 0;
}

/* ---- allocation ---- */

static bool is_free(const struct qcow2 *q, const struct rewrite *rw, uint64_t cluster)
{
	uint64_t index = cluster >> q->refblock_bits, bit = cluster & (per_block(q) - 1);

	if (index >= rw->nr_blocks || !rw->blocks[index].counts)
		return true;
	return !(rw->blocks[index].was_used[bit / 8] >> (bit % 8) & 1) &&
	       !qcow2_rewrite_refcount(q, rw, cluster);
}

/* Makes room for the refcount of a cluster. */
static int make_countable(const struct qcow2 *q, struct rewrite *rw, uint64_t cluster)
{
	uint64_t index = cluster >> q->refblock_bits;

	if (index >= rw->nr_blocks) {
		uint64_t nr = index + index / 4 + 1;
		struct rewrite_block *blocks = g_try_renew(struct rewrite_block, rw->blocks, nr);

		if (!blocks)
			return -ENOMEM;
		memset(&blocks[rw->nr_blocks], 0, (nr - rw->nr_blocks) * sizeof(*blocks));
		rw->blocks = blocks;
		rw->nr_blocks = nr;
	}
	return rw->blocks[index].counts ? 0 : block_new(q, &rw->blocks[index]);
}

int qcow2_rewrite_alloc(struct qcow2 *q, struct rewrite *rw, uint64_t nr, uint64_t *ret_host_off)
{
	uint64_t end = rw->free_hint, first, run = 0;
	int ret = 0;

	while (run < nr)
		run = is_free(q, rw, end++) ? run + 1 : 0;
	first = end - nr;
	if (end << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
		return -EFBIG;
	/* P3: the refcounts say that it is free, but one of the image's own tables lies there. */
	ret = qcow2_co_check_overlap_locked(q, first, nr);
	for (uint64_t i = first; i < end && !ret; i++) {
		ret = make_countable(q, rw, i);
		if (!ret)
			set_refcount(q, rw, i, 1);
	}
	if (ret)
		return ret;
	if (nr == 1 || first == rw->free_hint)
		rw->free_hint = end;
	qcow2_raise_zero_off(q, end);
	*ret_host_off = first << q->cluster_bits;
	return 0;
}

/* ---- what the overlap check is to know ---- */

static void note(struct rewrite *rw, struct table_change change)
{
	g_array_append_val(rw->tables, change);
}

void qcow2_rewrite_note_table(struct rewrite *rw, enum metadata_kind kind, uint64_t first_cluster,
			      uint64_t nr, int delta)
{
	note(rw, (struct table_change){ first_cluster, nr, kind, delta });
}

void qcow2_rewrite_note_l2(struct rewrite *rw, uint64_t cluster, int delta)
{
	note(rw, (struct table_change){ cluster, 1, METADATA_L2, delta });
}

static void tell_overlap_check(struct qcow2 *q, const struct rewrite *rw) REQUIRES(q->alloc_lock)
{
	for (guint i = 0; i < rw->tables->len; i++) {
		const struct table_change *c = &g_array_index(rw->tables, struct table_change, i);

		if (c->kind == METADATA_L2 && c->delta > 0)
			qcow2_add_l2_table(q, c->first_cluster);
		else if (c->kind == METADATA_L2)
			qcow2_drop_l2_table(q, c->first_cluster);
		else if (c->delta > 0)
			qcow2_add_metadata(q, c->kind, c->first_cluster, c->nr_clusters);
		else
			qcow2_remove_metadata(q, c->first_cluster, c->nr_clusters);
	}
}

/* ---- commit ---- */

/* What is made before the header is written, so that nothing can fail afterwards. */
struct successor {
	uint64_t reftable_size; /* entries */
	uint64_t *reftable;	/* host order */
	uint64_t *reftable_disk;
	uint8_t *reftable_state;
	_Atomic uint64_t *l1;
	uint64_t *l1_disk;
};

static void successor_clear(struct successor *next)
{
	g_free(next->reftable);
	iobuf_free(next->reftable_disk);
	g_free(next->reftable_state);
	g_free((void *)next->l1);
	iobuf_free(next->l1_disk);
}

/* The present table and its blocks: they will be free. */
static int drop_refcount_structure(struct qcow2 *q, struct rewrite *rw) REQUIRES(q->alloc_lock)
{
	uint64_t table = qcow2_cluster_index(q, q->reftable_off);
	uint64_t nr = qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t));
	int ret = qcow2_rewrite_count(q, rw, table, nr, -1);

	qcow2_rewrite_note_table(rw, METADATA_REFTABLE, table, nr, -1);
	for (uint64_t i = 0; i < q->reftable_size && !ret; i++) {
		uint64_t cluster = qcow2_cluster_index(q, q->reftable[i]);

		if (!cluster)
			continue;
		ret = qcow2_rewrite_count(q, rw, cluster, 1, -1);
		qcow2_rewrite_note_table(rw, METADATA_REFBLOCK, cluster, 1, -1);
	}
	return ret;
}

static uint64_t used_blocks(const struct rewrite *rw)
{
	uint64_t nr = rw->nr_blocks;

	while (nr && !rw->blocks[nr - 1].counts)
		nr--;
	return nr;
}

/* Makes a table with room for the blocks that count the new blocks, too. */
static int place_table(struct qcow2 *q, struct rewrite *rw, struct successor *next)
	REQUIRES(q->alloc_lock)
{
	uint64_t used = used_blocks(rw);
	uint64_t entries = MAX(q->reftable_size, used + used / 4 + 8);
	uint64_t nr = qcow2_clusters_for(q, entries * sizeof(uint64_t));
	int ret;

	if (nr << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return -EFBIG;
	ret = qcow2_rewrite_alloc(q, rw, nr, &rw->roots.reftable_off);
	if (ret)
		return ret;
	qcow2_rewrite_note_table(rw, METADATA_REFTABLE,
				 qcow2_cluster_index(q, rw->roots.reftable_off), nr, 1);
	rw->roots.reftable_clusters = nr;
	next->reftable_size = (nr << q->cluster_bits) / sizeof(uint64_t);
	next->reftable = g_try_new0(uint64_t, next->reftable_size);
	next->reftable_disk = try_iobuf_alloc0(nr << q->cluster_bits);
	next->reftable_state = g_try_malloc0(next->reftable_size / REFTABLE_UNIT_ENTRIES + 1);
	return next->reftable && next->reftable_disk && next->reftable_state ? 0 : -ENOMEM;
}

/* A block that counts nothing is left out. */
static bool is_needed(const struct qcow2 *q, const struct rewrite_block *block)
{
	return block->counts && !buffer_is_zero(block->counts, q->cluster_size);
}

/* Gives each block a place. Places need refcounts, so this may add blocks. */
static int place_blocks(struct qcow2 *q, struct rewrite *rw, struct successor *next)
	REQUIRES(q->alloc_lock)
{
	bool placed;
	int ret;

	do {
		placed = false;
		for (uint64_t i = 0; i < used_blocks(rw); i++) {
			if (i >= next->reftable_size)
				return -EFBIG;
			if (next->reftable[i] || !is_needed(q, &rw->blocks[i]))
				continue;
			ret = qcow2_rewrite_alloc(q, rw, 1, &next->reftable[i]);
			if (ret)
				return ret;
			qcow2_rewrite_note_table(rw, METADATA_REFBLOCK,
						 qcow2_cluster_index(q, next->reftable[i]), 1, 1);
			next->reftable_disk[i] = htobe64(next->reftable[i]);
			placed = true;
		}
	} while (placed);
	return 0;
}

static int place_refcounts(struct qcow2 *q, struct rewrite *rw, struct successor *next)
	REQUIRES(q->alloc_lock)
{
	return drop_refcount_structure(q, rw) ?:
	       place_table(q, rw, next)	      ?:
	       place_blocks(q, rw, next);
}

static int co_write_refcounts(struct qcow2 *q, const struct rewrite *rw,
			      const struct successor *next)
{
	int ret = 0;

	for (uint64_t i = 0; i < used_blocks(rw) && !ret; i++)
		if (next->reftable[i])
			ret = image_co_pwrite(q->file, next->reftable[i], q->cluster_size,
					      rw->blocks[i].counts, 0);
	if (ret)
		return ret;
	return image_co_pwrite(q->file, rw->roots.reftable_off,
			       next->reftable_size * sizeof(uint64_t), next->reftable_disk, 0);
}

/* Writes the L1 table to its place, which it already has. */
static int co_write_l1(struct qcow2 *q, const struct rewrite *rw, struct successor *next)
{
	uint32_t size = rw->roots.l1_size;

	/* At least one entry, as when the image is opened. */
	next->l1 = g_try_new0(_Atomic uint64_t, MAX(size, 1));
	next->l1_disk = try_iobuf_alloc0(MAX(size, 1) * sizeof(uint64_t));
	if (!next->l1 || !next->l1_disk)
		return -ENOMEM;
	for (uint32_t i = 0; i < size; i++) {
		atomic_store_explicit(&next->l1[i], rw->l1[i], memory_order_relaxed);
		next->l1_disk[i] = htobe64(rw->l1[i]);
	}
	if (!size)
		return 0;
	return image_co_pwrite(q->file, rw->roots.l1_off, size * sizeof(uint64_t), next->l1_disk,
			       0);
}

static bool becomes_free(const struct qcow2 *q, const struct rewrite *rw, uint64_t cluster)
{
	const struct rewrite_block *block = &rw->blocks[cluster >> q->refblock_bits];
	uint64_t bit = cluster & (per_block(q) - 1);

	return block->counts && block->was_used[bit / 8] >> (bit % 8) & 1 &&
	       !qcow2_refcount_load(q->refcount_order, block->counts, bit);
}

/*
 * P3: what becomes free must not be a table of the image as it will be. @q already knows those
 * tables.
 */
static int check_freed(struct qcow2 *q, const struct rewrite *rw) REQUIRES(q->alloc_lock)
{
	uint64_t end = used_blocks(rw) << q->refblock_bits;
	int ret = q->broken;

	for (uint64_t i = 0; i < end && !ret; i++)
		if (becomes_free(q, rw, i))
			ret = qcow2_co_check_overlap_locked(q, i, 1);
	return ret;
}

/* Everything new is durable before the header names it (C1, C2, C3). */
static int co_switch(struct qcow2 *q, struct rewrite *rw) REQUIRES(q->alloc_lock)
{
	int ret = image_co_flush(q->file);

	if (ret)
		return ret;
	ret = qcow2_co_write_roots(q, &rw->roots);
	/* C6: the new ones may be on disk even so. */
	if (ret)
		qcow2_co_settle_header(q);
	return ret;
}

static uint64_t lowest_free(const struct qcow2 *q, const struct rewrite *rw)
{
	uint64_t cluster = 0;

	while (qcow2_rewrite_refcount(q, rw, cluster))
		cluster++;
	return cluster;
}

static void take_over(struct qcow2 *q, struct rewrite *rw, struct successor *next)
	REQUIRES(q->struct_lock, q->flush_lock, q->alloc_lock)
{
	if (rw->l1) {
		g_free((void *)q->l1);
		iobuf_free(q->l1_disk);
		q->l1 = g_steal_pointer(&next->l1);
		q->l1_disk = g_steal_pointer(&next->l1_disk);
		q->l1_off = rw->roots.l1_off;
		image_memory_put(q->img, qcow2_l1_memory(q->l1_size));
		q->l1_size = rw->roots.l1_size;
		image_memory_count(q->img, qcow2_l1_memory(q->l1_size));
	}
	qcow2_refcount_replace(q, g_steal_pointer(&next->reftable),
			       g_steal_pointer(&next->reftable_state), next->reftable_size,
			       rw->roots.reftable_off, lowest_free(q, rw));
	/* C5: the cluster to which compressed data was appended may be free now. */
	q->byte_tail = 0;
	q->nr_snapshots = rw->roots.nr_snapshots;
	q->snapshots_off = rw->roots.snapshots_off;
	atomic_store(&q->img->size, rw->roots.size);
	qcow2_l2_cache_forget(q);
}

/* C5: the freeing is durable, and no request is in flight. The punch is only advice. */
static void co_punch_freed(struct qcow2 *q, const struct rewrite *rw)
{
	uint64_t end = used_blocks(rw) << q->refblock_bits, run = 0;

	for (uint64_t i = 0; i <= end; i++) {
		if (i < end && becomes_free(q, rw, i)) {
			run++;
			continue;
		}
		if (run)
			image_co_pdiscard(q->file, (i - run) << q->cluster_bits,
					  run << q->cluster_bits);
		run = 0;
	}
}

static int co_write_successor(struct qcow2 *q, struct rewrite *rw, struct successor *next)
	REQUIRES(q->alloc_lock)
{
	int ret = check_freed(q, rw) ?: co_write_refcounts(q, rw, next);

	if (!ret && rw->l1)
		ret = co_write_l1(q, rw, next);
	return ret ?: co_switch(q, rw);
}

int qcow2_rewrite_co_commit(struct qcow2 *q, struct rewrite *rw)
{
	struct successor next = { 0 };
	GHashTable *metadata;
	int ret = place_refcounts(q, rw, &next);

	if (!ret) {
		metadata = q->metadata;
		q->metadata = qcow2_copy_metadata(q);
		tell_overlap_check(q, rw);
		ret = co_write_successor(q, rw, &next);
		/* Free the state that did not come into force. */
		g_hash_table_destroy(ret ? q->metadata : metadata);
		if (ret)
			q->metadata = metadata;
	}
	if (!ret) {
		take_over(q, rw, &next);
		if (rw->punch)
			co_punch_freed(q, rw);
	}
	successor_clear(&next);
	return ret;
}
