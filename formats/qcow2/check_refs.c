// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: compares refcounts with what was counted, and corrects them in place. One block is in
 * memory at a time.
 */
#include "check.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"

static uint64_t max_refcount(const struct check *c)
{
	unsigned bits = 1u << c->q->refcount_order;

	return bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
}

/* ---- the table ---- */

/*
 * The host offset of the entry's block if it can hold refcounts; otherwise 0, or (with reserved
 * bits) the block is not counted.
 */
static uint64_t check_reftable_entry(struct check *c, uint64_t index, uint64_t entry,
				     bool *ret_counted)
{
	const char *what = NULL;

	*ret_counted = false;
	if (!entry)
		return 0;
	if (entry & ~QCOW2_REFTABLE_OFFSET_MASK) {
		qcow2_check_say(c, "ERROR refcount table entry %" PRIu64 " has reserved bits set",
				index);
		c->refs_wrong++;
		c->rebuild = true;
		entry &= QCOW2_REFTABLE_OFFSET_MASK;
	} else {
		*ret_counted = true;
	}
	if (qcow2_in_cluster(c->q, entry))
		what = "is not cluster aligned; refcount table entry corrupted";
	/* Not nr_clusters: a structure that was just made lies behind the old end of the file. */
	else if (entry >= image_size(c->q->file))
		what = "is outside image";
	if (!what)
		return entry;
	if (*ret_counted)
		c->refs_wrong++;
	qcow2_check_say(c, "ERROR refcount block %" PRIu64 " %s", index, what);
	c->rebuild = true;
	*ret_counted = false;
	return 0;
}

int qcow2_check_co_load_reftable(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t bytes = c->reftable_size * sizeof(uint64_t);
	int ret;

	c->fixed = g_array_new(FALSE, FALSE, sizeof(struct check_range));
	c->reftable = try_iobuf_alloc(MAX(bytes, 8));
	c->block_counted = g_try_new0(bool, MAX(c->reftable_size, 1));
	c->refblock = try_iobuf_alloc(q->cluster_size);
	if (!c->reftable || !c->refblock || !c->block_counted)
		return -ENOMEM;
	ret = bytes ? image_co_pread(q->file, c->reftable_off, bytes, c->reftable) : 0;
	if (ret)
		return ret;
	for (uint64_t i = 0; i < c->reftable_size; i++)
		c->reftable[i] =
			check_reftable_entry(c, i, be64toh(c->reftable[i]), &c->block_counted[i]);
	return 0;
}

void qcow2_check_refs_clear(struct check *c)
{
	iobuf_free(c->reftable);
	iobuf_free(c->refblock);
	g_clear_pointer(&c->block_counted, g_free);
	g_clear_pointer(&c->fixed, g_array_unref);
	g_clear_pointer(&c->blocks, g_array_unref);
	c->reftable = NULL;
	c->refblock = NULL;
	c->refblock_off = 0;
	c->refblock_dirty = false;
}

void qcow2_check_count_refs(struct check *c)
{
	qcow2_check_count_range(c, c->reftable_off, c->reftable_size * sizeof(uint64_t));
	for (uint64_t i = 0; i < c->reftable_size; i++)
		if (c->block_counted[i])
			qcow2_check_count_range(c, c->reftable[i], c->q->cluster_size);
}

uint64_t qcow2_check_next_covered(const struct check *c, uint64_t cluster)
{
	uint64_t index = cluster >> c->q->refblock_bits;

	while (index < c->reftable_size && !c->reftable[index])
		index++;
	if (index >= c->reftable_size)
		return UINT64_MAX;
	return MAX(index << c->q->refblock_bits, cluster);
}

/* ---- what an L2 table must not be written over ---- */

static gint compare_clusters(gconstpointer a, gconstpointer b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void collect_blocks(struct check *c)
{
	struct check_range table = { qcow2_cluster_index(c->q, c->reftable_off),
				     qcow2_clusters_for(c->q, c->reftable_size * 8) };

	g_array_append_val(c->fixed, table);
	c->blocks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	for (uint64_t i = 0; i < c->reftable_size; i++) {
		uint64_t cluster = qcow2_cluster_index(c->q, c->reftable[i]);

		if (cluster)
			g_array_append_val(c->blocks, cluster);
	}
	g_array_sort(c->blocks, compare_clusters);
}

bool qcow2_check_is_fixed(struct check *c, uint64_t cluster)
{
	if (!c->blocks)
		collect_blocks(c);
	for (guint i = 0; i < c->fixed->len; i++) {
		const struct check_range *range = &g_array_index(c->fixed, struct check_range, i);

		if (cluster - range->first < range->nr)
			return true;
	}
	return g_array_binary_search(c->blocks, &cluster, compare_clusters, NULL);
}

bool qcow2_check_is_alone(struct check *c, const struct check_range *table)
{
	uint64_t end = table->first + table->nr;
	unsigned overlaps = 0;

	if (!c->blocks)
		collect_blocks(c);
	for (guint i = 0; i < c->fixed->len; i++) {
		const struct check_range *range = &g_array_index(c->fixed, struct check_range, i);

		overlaps += range->first < end && range->first + range->nr > table->first;
	}
	for (guint i = 0; i < c->blocks->len; i++) {
		uint64_t cluster = g_array_index(c->blocks, uint64_t, i);

		overlaps += cluster >= table->first && cluster < end;
	}
	/* The block itself. */
	return overlaps == 1;
}

/* ---- blocks ---- */

static int co_write_refblock(struct check *c)
{
	int ret = 0;

	if (c->refblock_dirty)
		ret = image_co_pwrite(c->q->file, c->refblock_off, c->q->cluster_size, c->refblock,
				      0);
	if (!ret)
		c->refblock_dirty = false;
	return ret;
}

/* Loads the block that has a cluster's refcount; *ret_exists: there is one. */
static int co_load_refblock(struct check *c, uint64_t cluster, bool *ret_exists)
{
	uint64_t index = cluster >> c->q->refblock_bits;
	uint64_t off = index < c->reftable_size ? c->reftable[index] : 0;
	int ret;

	*ret_exists = off;
	if (!off || off == c->refblock_off)
		return 0;
	ret = co_write_refblock(c);
	if (ret)
		return ret;
	c->refblock_off = 0;
	ret = image_co_pread(c->q->file, off, c->q->cluster_size, c->refblock);
	if (!ret)
		c->refblock_off = off;
	return ret;
}

static uint64_t in_block(const struct check *c, uint64_t cluster)
{
	return cluster & ((1ull << c->q->refblock_bits) - 1);
}

int qcow2_check_co_refcount(struct check *c, uint64_t cluster, uint64_t *ret_refcount)
{
	bool exists;
	int ret = co_load_refblock(c, cluster, &exists);

	*ret_refcount = ret || !exists ? 0
				       : qcow2_refcount_load(c->q->refcount_order, c->refblock,
							     in_block(c, cluster));
	return ret;
}

int qcow2_check_co_flush_refs(struct check *c)
{
	return co_write_refblock(c) ?: image_co_flush(c->q->file);
}

static uint64_t window_end(const struct check *c)
{
	return MIN(c->window_start + c->window_clusters, c->nr_clusters);
}

int qcow2_check_co_load_ones(struct check *c)
{
	uint64_t refcount;
	int ret;

	c->refcount_one = qcow2_check_window_bits(c);
	for (uint64_t i = qcow2_check_next_covered(c, c->window_start); i < window_end(c);
	     i = qcow2_check_next_covered(c, i + 1)) {
		uint64_t index = i - c->window_start;

		ret = qcow2_check_co_refcount(c, i, &refcount);
		if (ret)
			return ret;
		c->refcount_one[index / 64] |= (uint64_t)(refcount == 1) << (index % 64);
	}
	return 0;
}

/* ---- comparing ---- */

/*
 * A block must be a cluster inside the file that nothing else uses; otherwise it cannot be
 * repaired.
 */
static void compare_blocks(struct check *c)
{
	for (uint64_t i = 0; i < c->reftable_size; i++) {
		uint64_t cluster = qcow2_cluster_index(c->q, c->reftable[i]);
		uint32_t counted;

		if (!c->block_counted[i] || !qcow2_check_in_window(c, cluster))
			continue;
		counted = qcow2_check_counted(c, cluster);
		if (counted == 1)
			continue;
		qcow2_check_say(c, "ERROR refcount block %" PRIu64 " refcount=%u", i, counted);
		c->refs_wrong++;
		c->rebuild = true;
	}
}

/* The same goes for the table. */
static void compare_table(struct check *c)
{
	uint64_t first = qcow2_cluster_index(c->q, c->reftable_off);
	uint64_t nr = qcow2_clusters_for(c->q, c->reftable_size * 8);

	for (uint64_t i = first; i < first + nr && i < c->nr_clusters; i++)
		if (qcow2_check_in_window(c, i) && qcow2_check_counted(c, i) != 1)
			c->rebuild = true;
}

static void compare_one(struct check *c, uint64_t cluster, uint64_t refcount, uint32_t counted)
{
	bool low = refcount < counted;

	if (refcount == counted || (counted == UINT32_MAX && refcount > counted))
		return;
	qcow2_check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u",
			low ? "ERROR" : "Leaked", cluster, refcount, counted);
	if (!low) {
		c->leaks++;
		return;
	}
	c->refs_wrong++;
	c->refs_too_high += counted > max_refcount(c);
	if (qcow2_check_next_covered(c, cluster) != cluster)
		c->rebuild = true;
}

int qcow2_check_co_compare(struct check *c, void *unused)
{
	uint64_t refcount;
	int ret;

	compare_table(c);
	compare_blocks(c);
	for (uint64_t i = c->window_start; i < window_end(c); i++) {
		uint32_t counted = qcow2_check_counted(c, i);

		ret = qcow2_check_co_refcount(c, i, &refcount);
		if (ret)
			return ret;
		if (!refcount && !counted)
			continue;
		c->result->image_end_off = (i + 1) << c->q->cluster_bits;
		compare_one(c, i, refcount, counted);
	}
	return 0;
}

int qcow2_check_co_correct(struct check *c, uint64_t cluster, uint64_t refcount, uint32_t counted)
{
	bool exists;
	int ret = co_load_refblock(c, cluster, &exists);

	if (ret)
		return ret;
	qcow2_check_say(c, "Repairing cluster %" PRIu64 " refcount=%" PRIu64 " reference=%u",
			cluster, refcount, counted);
	qcow2_refcount_store(c->q->refcount_order, c->refblock, in_block(c, cluster),
			     MIN(counted, max_refcount(c)));
	c->refblock_dirty = true;
	return 0;
}

int qcow2_check_co_adjust(struct check *c, void *arg)
{
	bool raise = *(bool *)arg;
	uint64_t refcount;
	int ret;

	for (uint64_t i = qcow2_check_next_covered(c, c->window_start); i < window_end(c);
	     i = qcow2_check_next_covered(c, i + 1)) {
		uint32_t counted = qcow2_check_counted(c, i);
		uint64_t right = MIN(counted, max_refcount(c));

		ret = qcow2_check_co_refcount(c, i, &refcount);
		if (ret)
			return ret;
		if (raise ? refcount >= right : refcount <= counted || counted == UINT32_MAX)
			continue;
		ret = qcow2_check_co_correct(c, i, refcount, counted);
		if (ret)
			return ret;
	}
	return 0;
}
