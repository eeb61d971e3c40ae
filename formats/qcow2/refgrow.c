// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Grows the refcount structures: new refcount blocks, and a larger refcount table. The latter is
 * rare, and flushes the file under alloc_lock (C3), as do blocks that are made in a row. A single
 * block waits for the next flush of the file, and then the table may name it.
 *
 * A circle with refcount.c: a new block is itself a cluster that has a refcount.
 */
#include "qcow2.h"

#include <string.h>

#include "align.h"
#include "rules.h"

/* C3: flushes the file between the block and its table entry. */
static int write_durably(struct qcow2 *q, uint64_t host_off, uint64_t bytes, const void *buf)
	REQUIRES(q->alloc_lock)
{
	int ret = image_co_pwrite(q->file, host_off, bytes, buf, 0);

	if (ret || RULE_BROKEN(RULE_C3_REFCOUNT_BLOCK))
		return ret;
	return image_co_flush(q->file);
}

/* Makes a new block for the refcount of @cluster, which becomes its place and its first entry. */
static int refblock_co_create(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock)
{
	uint64_t index = cluster >> q->refblock_bits;
	void *block = try_iobuf_alloc0(q->cluster_size);
	int ret;

	if (!block)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC);
	qcow2_refcount_store(q->refcount_order, block, cluster & ((1ull << q->refblock_bits) - 1),
			     1);
	qcow2_raise_zero_off(q, cluster + 1);
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_WRITE);
	ret = image_co_pwrite(q->file, cluster << q->cluster_bits, q->cluster_size, block, 0);
	iobuf_free(block);
	if (ret)
		return ret;
	qcow2_add_metadata(q, METADATA_REFBLOCK, cluster, 1);
	q->reftable[index] = cluster << q->cluster_bits;
	g_array_append_val(q->new_blocks, index);
	q->blocks_made++;
	if (RULE_BROKEN(RULE_C3_REFCOUNT_BLOCK))
		qcow2_new_blocks_durable(q, q->blocks_made);
	return 0;
}

/* The refcounts of the first @used clusters that a row of new blocks counts become one. */
static void count_used(const struct qcow2 *q, uint8_t *blocks, uint64_t used)
{
	uint64_t per_block = 1ull << q->refblock_bits;

	for (uint64_t i = 0; i < used; i++)
		qcow2_refcount_store(q->refcount_order, blocks + (i / per_block << q->cluster_bits),
				     i % per_block, 1);
}

/* A larger table, while it is being made. */
struct new_reftable {
	uint64_t start; /* host cluster: first the new blocks, then the table */
	uint64_t nr_blocks;
	uint64_t nr_clusters; /* of the table */
	uint64_t size;	      /* entries */
	uint8_t *blocks;
	uint64_t *entries; /* host order */
	uint64_t *disk;	   /* big-endian */
	uint8_t *state;
};

static void new_reftable_clear(struct new_reftable *new)
{
	iobuf_free(new->blocks);
	iobuf_free(new->disk);
	g_free(new->entries);
	g_free(new->state);
}

/*
 * The new table, and the blocks that count it, lie behind everything that the old table covers:
 * nothing is in use there.
 */
static int new_reftable_plan(struct qcow2 *q, uint64_t min_size, struct new_reftable *new)
	REQUIRES(q->alloc_lock)
{
	uint64_t per_block = 1ull << q->refblock_bits;
	uint64_t bytes = (min_size + min_size / 2) * sizeof(uint64_t);
	uint64_t used;
	int ret;

	new->nr_clusters = MAX(qcow2_clusters_for(q, bytes), 1);
	new->size = (new->nr_clusters << q->cluster_bits) / sizeof(uint64_t);
	new->start = q->reftable_size << q->refblock_bits;
	new->nr_blocks = 1;
	while (new->nr_blocks * per_block < new->nr_blocks + new->nr_clusters)
		new->nr_blocks++;
	used = new->nr_blocks + new->nr_clusters;
	if (new->size * sizeof(uint64_t) > QCOW2_MAX_REFTABLE_BYTES ||
	    q->reftable_size + new->nr_blocks > new->size ||
	    (new->start + used) << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
		return -EFBIG;
	ret = qcow2_co_check_overlap_locked(q, new->start, used);
	if (ret)
		return ret;

	new->blocks = try_iobuf_alloc0(new->nr_blocks << q->cluster_bits);
	new->disk = try_iobuf_alloc0(new->nr_clusters << q->cluster_bits);
	new->entries = g_try_new0(uint64_t, new->size);
	new->state = g_try_malloc0(div_round_up(new->size, REFTABLE_UNIT_ENTRIES));
	if (!new->blocks || !new->disk || !new->entries || !new->state)
		return -ENOMEM;
	count_used(q, new->blocks, used);
	memcpy(new->entries, q->reftable, q->reftable_size * sizeof(uint64_t));
	for (uint64_t i = 0; i < new->nr_blocks; i++)
		new->entries[q->reftable_size + i] = (new->start + i) << q->cluster_bits;
	for (uint64_t i = 0; i < new->size; i++)
		new->disk[i] = htobe64(new->entries[i]);
	return 0;
}

/*
 * Blocks and table are on disk before the header names them (C3). So are the new blocks of the old
 * table, which were written when they were made.
 */
static int new_reftable_co_write(struct qcow2 *q, const struct new_reftable *new)
	REQUIRES(q->alloc_lock)
{
	uint64_t table_off = (new->start + new->nr_blocks) << q->cluster_bits;
	int ret;

	qcow2_raise_zero_off(q, new->start + new->nr_blocks + new->nr_clusters);
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
	ret = image_co_pwrite(q->file, new->start << q->cluster_bits,
			      new->nr_blocks << q->cluster_bits, new->blocks, 0);
	if (ret)
		return ret;
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
	ret = write_durably(q, table_off, new->nr_clusters << q->cluster_bits, new->disk);
	if (ret)
		return ret;
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
	ret = qcow2_co_write_reftable_pointer(q, table_off, new->nr_clusters);
	if (ret)
		qcow2_co_settle_header(q);
	return ret;
}

static int reftable_co_grow(struct qcow2 *q, uint64_t min_size) REQUIRES(q->alloc_lock)
{
	struct new_reftable new = { 0 };
	uint64_t old_cluster = qcow2_cluster_index(q, q->reftable_off);
	uint64_t old_clusters = qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t));
	int ret;

	image_co_event(q->file, IMAGE_EVENT_REFTABLE_GROW);
	ret = new_reftable_plan(q, min_size, &new) ?: new_reftable_co_write(q, &new);
	if (ret) {
		new_reftable_clear(&new);
		return ret;
	}
	qcow2_add_metadata(q, METADATA_REFBLOCK, new.start, new.nr_blocks);
	qcow2_add_metadata(q, METADATA_REFTABLE, new.start + new.nr_blocks, new.nr_clusters);
	g_array_set_size(q->new_blocks, 0);
	g_free(q->reftable);
	g_free(q->reftable_state);
	q->reftable = g_steal_pointer(&new.entries);
	q->reftable_state = g_steal_pointer(&new.state);
	q->reftable_size = new.size;
	q->reftable_off = (new.start + new.nr_blocks) << q->cluster_bits;
	new_reftable_clear(&new);

	/* C4: the header that named the old table is gone from disk. Otherwise the table leaks. */
	qcow2_remove_metadata(q, old_cluster, old_clusters);
	qcow2_co_put_clusters(q, old_cluster, old_clusters);
	return 0;
}

int qcow2_co_make_countable(struct qcow2 *q, uint64_t cluster, bool *ret_again)
{
	int ret;

	*ret_again = false;
	if (qcow2_refblock_exists(q, cluster))
		return 0;
	ret = qcow2_co_check_overlap_locked(q, cluster, 1);
	if (ret)
		return ret;
	*ret_again = true;
	if (cluster >> q->refblock_bits >= q->reftable_size)
		return reftable_co_grow(q, (cluster >> q->refblock_bits) + 1);
	return refblock_co_create(q, cluster);
}

/* ---- long tables ---- */

/* How often to search for contiguous free clusters. */
#define MAX_TRIES 16

/* The first cluster that no refcount block counts. */
static uint64_t first_uncounted(const struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t index = q->reftable_size;

	while (index && !q->reftable[index - 1])
		index--;
	return index;
}

/*
 * Allocates behind everything that is counted, with new refcount blocks in front of the clusters.
 */
static int alloc_with_blocks(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock)
{
	uint64_t per_block = 1ull << q->refblock_bits, nr_blocks = 1, index, start;
	uint8_t *blocks;
	int ret;

	while (nr_blocks * per_block < nr_blocks + nr)
		nr_blocks++;
	for (;;) {
		index = first_uncounted(q);
		if (index + nr_blocks <= q->reftable_size)
			break;
		ret = reftable_co_grow(q, index + nr_blocks);
		if (ret)
			return ret;
	}
	start = index << q->refblock_bits;
	if ((start + nr_blocks + nr) << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
		return -EFBIG;
	ret = qcow2_co_check_overlap_locked(q, start, nr_blocks + nr);
	if (ret)
		return ret;
	blocks = try_iobuf_alloc0(nr_blocks << q->cluster_bits);
	if (!blocks)
		return -ENOMEM;
	count_used(q, blocks, nr_blocks + nr);
	qcow2_raise_zero_off(q, start + nr_blocks + nr);
	ret = write_durably(q, start << q->cluster_bits, nr_blocks << q->cluster_bits, blocks);
	iobuf_free(blocks);
	if (ret)
		return ret;
	qcow2_add_metadata(q, METADATA_REFBLOCK, start, nr_blocks);
	for (uint64_t i = 0; i < nr_blocks; i++) {
		q->reftable[index + i] = (start + i) << q->cluster_bits;
		q->reftable_state[(index + i) / REFTABLE_UNIT_ENTRIES] |= REFTABLE_UNIT_DIRTY;
	}
	*ret_host_off = (start + nr_blocks) << q->cluster_bits;
	return 0;
}

struct run {
	uint64_t host_off;
	uint64_t nr;
};

int qcow2_co_alloc_contiguous(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off)
{
	struct run short_runs[MAX_TRIES];
	unsigned nr_short = 0;
	bool fresh;
	int ret = 0;

	while (nr < 1ull << q->refblock_bits && nr_short < MAX_TRIES) {
		struct run *run = &short_runs[nr_short];

		ret = qcow2_co_alloc_clusters(q, nr, &run->host_off, &run->nr, &fresh);
		if (ret || run->nr == nr)
			break;
		nr_short++;
	}
	if (!ret && nr_short < MAX_TRIES && nr < 1ull << q->refblock_bits)
		*ret_host_off = short_runs[nr_short].host_off;
	else if (!ret)
		ret = alloc_with_blocks(q, nr, ret_host_off);
	/* Nothing points to them; what cannot be given back leaks (C6). */
	for (unsigned i = 0; i < nr_short; i++)
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, short_runs[i].host_off),
				      short_runs[i].nr);
	return ret;
}
