// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: a new refcount structure, if the old one has holes or overlaps something else.
 *
 * It is written as a whole behind everything that is in use, the old structure included; then the
 * file is flushed, and one write of the header puts it in force (C3). A power cut before that
 * leaves the image as it was.
 *
 * A circle with check.c, whose windows this walks over, too.
 */
#include "check.h"

#include <inttypes.h>
#include <string.h>

struct rebuild {
	uint64_t start;	    /* host cluster: first the blocks, then the table */
	uint64_t nr_blocks; /* so far */
	uint64_t size;	    /* entries of the table so far */
	GArray *table;	    /* uint64_t, host order */
	uint8_t *block;
	/* The first block that counts clusters of the new structure: it is written last. */
	uint64_t tail_index;
	uint8_t *tail;
};

static uint64_t per_block(const struct check *c)
{
	return 1ull << c->q->refblock_bits;
}

static void set_table(struct rebuild *r, uint64_t index, uint64_t host_off)
{
	if (r->table->len <= index)
		g_array_set_size(r->table, index + 1);
	g_array_index(r->table, uint64_t, index) = host_off;
}

static int co_write_block(struct check *c, struct rebuild *r, uint64_t index, const void *block)
{
	uint64_t host_off = (r->start + r->nr_blocks) << c->q->cluster_bits;

	if ((index + 1) * sizeof(uint64_t) > QCOW2_MAX_REFTABLE_BYTES ||
	    host_off >= QCOW2_MAX_HOST_OFFSET)
		return -EFBIG;
	set_table(r, index, host_off);
	r->nr_blocks++;
	return image_co_pwrite(c->q->file, host_off, c->q->cluster_size, block, 0);
}

/*
 * Fills @block with what was counted of its clusters in this window; returns whether there is any.
 */
static bool fill_block(const struct check *c, uint64_t index, uint8_t *block)
{
	unsigned bits = 1u << c->q->refcount_order;
	uint64_t max = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
	uint64_t first = index << c->q->refblock_bits;
	uint64_t end = MIN(first + per_block(c), c->window_start + c->window_clusters);
	bool any = false;

	memset(block, 0, c->q->cluster_size);
	for (uint64_t i = first; i < end; i++) {
		uint64_t counted = qcow2_check_counted(c, i);

		any |= counted != 0;
		if (counted)
			qcow2_refcount_store(c->q->refcount_order, block, i - first,
					     MIN(counted, max));
	}
	return any;
}

static int co_write_blocks(struct check *c, void *arg)
{
	struct rebuild *r = arg;
	uint64_t first = c->window_start >> c->q->refblock_bits;
	uint64_t end = MIN(c->window_start + c->window_clusters, r->start + 1);
	int ret = 0;

	for (uint64_t i = first; i << c->q->refblock_bits < end && !ret; i++) {
		if (i == r->tail_index)
			fill_block(c, i, r->tail);
		else if (fill_block(c, i, r->block))
			ret = co_write_block(c, r, i, r->block);
	}
	return ret;
}

/* The blocks that count the new structure itself, with @nr_table table clusters behind them. */
static int co_write_tail(struct check *c, struct rebuild *r, uint64_t nr_tail, uint64_t nr_table)
{
	uint64_t end = r->start + r->nr_blocks + nr_tail + nr_table;
	uint64_t cluster = r->start;
	int ret = 0;

	for (uint64_t i = 0; i < nr_tail && !ret; i++) {
		uint64_t index = r->tail_index + i;

		for (; cluster < end && cluster >> c->q->refblock_bits == index; cluster++)
			qcow2_refcount_store(c->q->refcount_order, r->tail,
					     cluster & (per_block(c) - 1), 1);
		ret = co_write_block(c, r, index, r->tail);
		memset(r->tail, 0, c->q->cluster_size);
	}
	return ret;
}

/* How many blocks and table clusters are still to come. */
static void plan_tail(const struct check *c, const struct rebuild *r, uint64_t *ret_blocks,
		      uint64_t *ret_table)
{
	uint64_t blocks = 1, table = 1;

	for (;;) {
		uint64_t end = r->start + r->nr_blocks + blocks + table;
		uint64_t covered = (r->tail_index + blocks) << c->q->refblock_bits;

		if (covered < end)
			blocks++;
		else if (table << c->q->cluster_bits < (r->tail_index + blocks) * sizeof(uint64_t))
			table++;
		else
			break;
	}
	*ret_blocks = blocks;
	*ret_table = table;
}

static int co_write_table(struct check *c, const struct rebuild *r, uint64_t host_off,
			  uint64_t nr_clusters)
{
	uint64_t *disk = try_iobuf_alloc0(nr_clusters << c->q->cluster_bits);
	int ret;

	if (!disk)
		return -ENOMEM;
	for (guint i = 0; i < r->table->len; i++)
		disk[i] = htobe64(g_array_index(r->table, uint64_t, i));
	ret = image_co_pwrite(c->q->file, host_off, nr_clusters << c->q->cluster_bits, disk, 0);
	iobuf_free(disk);
	return ret;
}

/* C3: all of it is durable before the header names it. */
static int co_put_in_force(struct check *c, uint64_t table_off, uint64_t nr_clusters)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else works on the image */
{
	struct qcow2 *q = c->q;
	int ret = image_co_flush(q->file)
			  ?: qcow2_co_write_reftable_pointer(q, table_off, nr_clusters);

	if (ret)
		return ret;
	q->reftable_off = table_off;
	q->reftable_size = (nr_clusters << q->cluster_bits) / sizeof(uint64_t);
	q->reftable_bad = false;
	return 0;
}

static int co_rebuild(struct check *c, struct rebuild *r)
{
	uint64_t nr_tail, nr_table, table_off;
	int ret = qcow2_check_co_each_window(c, CHECK_COUNT_WITHOUT_REFS, co_write_blocks, r);

	if (ret)
		return ret;
	plan_tail(c, r, &nr_tail, &nr_table);
	ret = co_write_tail(c, r, nr_tail, nr_table);
	if (ret)
		return ret;
	table_off = (r->start + r->nr_blocks) << c->q->cluster_bits;
	if (nr_table << c->q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return -EFBIG;
	return co_write_table(c, r, table_off, nr_table) ?: co_put_in_force(c, table_off, nr_table);
}

int qcow2_check_co_rebuild(struct check *c)
{
	struct rebuild r = {
		.start = c->used_end,
		.tail_index = c->used_end >> c->q->refblock_bits,
		.table = g_array_new(FALSE, TRUE, sizeof(uint64_t)),
		.block = try_iobuf_alloc(c->q->cluster_size),
		.tail = try_iobuf_alloc0(c->q->cluster_size),
	};
	int ret = -ENOMEM;

	qcow2_check_say(c, "Rebuilding refcount structure");
	if (r.block && r.tail)
		ret = co_rebuild(c, &r);
	g_array_unref(r.table);
	iobuf_free(r.block);
	iobuf_free(r.tail);
	return ret;
}
