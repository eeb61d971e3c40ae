// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Refcounts of another width. All refcount blocks and their table are written anew, behind the last
 * cluster in use; one write of the header puts them in force. The new blocks count the old ones as
 * free, and the old blocks the new ones: whichever the header names after a power cut, nothing
 * leaks.
 */
#include "amend.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"

struct new_refcounts {
	unsigned order;
	unsigned block_bits; /* log2 of entries in a block */
	uint64_t nr_counted; /* host clusters, up to the last one in use */
	uint64_t nr_groups;  /* the clusters that one block counts are a group */
	bool *used;	     /* groups that need a block */
	uint64_t nr_blocks;  /* of them */
	uint64_t start;	     /* host cluster: first the blocks, then the table */
	uint64_t table_clusters;
	uint64_t *table; /* host order */
	uint8_t *state;
};

static void clear(struct new_refcounts *new)
{
	g_free(new->used);
	g_free(new->table);
	g_free(new->state);
}

static uint64_t nr_clusters(const struct new_refcounts *new)
{
	return new->nr_blocks + new->table_clusters;
}

static int too_narrow(const struct qcow2 *q, const struct new_refcounts *new, uint64_t cluster,
		      uint64_t refcount, GError **err)
{
	return error_refuse(
		err, -ENOTSUP,
		"Cannot decrease refcount entry width to %u bits: Cluster at offset 0x%" PRIx64
		" has a refcount of %" PRIu64,
		1u << new->order, cluster << q->cluster_bits, refcount);
}

/* Whether a cluster belongs to the old refcount structures, which are not in use afterwards. */
static bool is_old_structure(const struct qcow2 *q, GHashTable *blocks, uint64_t cluster)
	REQUIRES(q->alloc_lock)
{
	uint64_t table = qcow2_cluster_index(q, q->reftable_off);

	return (cluster >= table &&
		cluster < table + qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t))) ||
	       g_hash_table_contains(blocks, GSIZE_TO_POINTER(cluster));
}

static GHashTable *old_blocks(const struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	GHashTable *blocks = g_hash_table_new(NULL, NULL);

	for (uint64_t i = 0; i < q->reftable_size; i++)
		if (q->reftable[i])
			g_hash_table_add(blocks,
					 GSIZE_TO_POINTER(qcow2_cluster_index(q, q->reftable[i])));
	return blocks;
}

/* Calls fn(arg, cluster, refcount) for all clusters in use; skips those that no block counts. */
static int for_each_refcount(struct qcow2 *q,
			     int (*fn)(void *arg, uint64_t cluster, uint64_t count), void *arg)
	REQUIRES(q->alloc_lock)
{
	uint64_t per_block = 1ull << q->refblock_bits, refcount;
	int ret = 0;

	for (uint64_t i = 0; i < q->reftable_size && !ret; i++) {
		for (uint64_t j = 0; q->reftable[i] && j < per_block && !ret; j++) {
			ret = qcow2_co_get_refcount(q, i * per_block + j, &refcount);
			if (!ret && refcount)
				ret = fn(arg, i * per_block + j, refcount);
		}
	}
	return ret;
}

/* ---- looking ---- */

struct survey {
	struct qcow2 *q;
	struct new_refcounts *new;
	uint64_t max;
	GHashTable *blocks;
	GError **err;
};

static int look_at(void *arg, uint64_t cluster, uint64_t refcount)
{
	struct survey *s = arg;

	if (refcount > s->max)
		return too_narrow(s->q, s->new, cluster, refcount, s->err);
	s->new->nr_counted = cluster + 1;
	return 0;
}

static int mark_group(void *arg, uint64_t cluster, uint64_t refcount) NO_THREAD_SAFETY_ANALYSIS
{
	struct survey *s = arg;

	if (!is_old_structure(s->q, s->blocks, cluster))
		s->new->used[cluster >> s->new->block_bits] = true;
	return 0;
}

/* The new structures are counted, too: adding to them may require yet another block. */
static void place(const struct qcow2 *q, struct new_refcounts *new)
{
	uint64_t before, entries = q->cluster_size / sizeof(uint64_t);

	do {
		uint64_t last = new->start + nr_clusters(new) - 1;

		before = nr_clusters(new);
		for (uint64_t i = new->start >> new->block_bits; i <= last >> new->block_bits; i++)
			new->used[i] = true;
		new->nr_blocks = new->nr_groups = 0;
		for (uint64_t i = 0; i <= last >> new->block_bits; i++) {
			new->nr_blocks += new->used[i];
			new->nr_groups = i + 1;
		}
		new->table_clusters = div_round_up(new->nr_groups, entries);
	} while (nr_clusters(new) != before);
}

static int co_plan(struct qcow2 *q, struct survey *s) REQUIRES(q->alloc_lock)
{
	struct new_refcounts *new = s->new;
	uint64_t most;
	int ret = for_each_refcount(q, look_at, s);

	if (ret)
		return ret;
	new->start = new->nr_counted;
	new->table_clusters = new->nr_blocks = 1;
	/* The new structures cannot reach beyond twice what is counted, and some more. */
	most = (2 * new->nr_counted >> new->block_bits) + 64;
	if (most * sizeof(uint64_t) > 2ull * QCOW2_MAX_REFTABLE_BYTES + (1u << 20))
		return -EFBIG;
	new->used = g_try_new0(bool, most);
	if (!new->used)
		return -ENOMEM;
	ret = for_each_refcount(q, mark_group, s);
	if (ret)
		return ret;
	place(q, new);
	if (new->table_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES ||
	    (new->start + nr_clusters(new)) << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
		return -EFBIG;
	return qcow2_co_check_overlap_locked(q, new->start, nr_clusters(new));
}

/* ---- writing ---- */

static int fill_block(struct qcow2 *q, const struct survey *s, uint64_t group, uint8_t *block)
	REQUIRES(q->alloc_lock)
{
	const struct new_refcounts *new = s->new;
	uint64_t per_block = 1ull << new->block_bits, refcount;

	memset(block, 0, q->cluster_size);
	for (uint64_t i = 0; i < per_block; i++) {
		uint64_t cluster = group * per_block + i;
		int ret = qcow2_co_get_refcount(q, cluster, &refcount);

		if (ret)
			return ret;
		if (cluster >= new->start && cluster < new->start + nr_clusters(new))
			refcount = 1;
		else if (refcount && is_old_structure(q, s->blocks, cluster))
			refcount = 0;
		if (refcount)
			qcow2_refcount_store(new->order, block, i, refcount);
	}
	return 0;
}

static int co_write_blocks(struct qcow2 *q, const struct survey *s,
			   const struct amend_progress *progress) REQUIRES(q->alloc_lock)
{
	struct new_refcounts *new = s->new;
	uint8_t *block = try_iobuf_alloc(q->cluster_size);
	uint64_t cluster = new->start;
	int ret = block ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < new->nr_groups && !ret; i++) {
		if (!new->used[i])
			continue;
		new->table[i] = cluster << q->cluster_bits;
		ret = fill_block(q, s, i, block)
			      ?: image_co_pwrite(q->file, new->table[i], q->cluster_size, block, 0);
		cluster++;
		qcow2_amend_report(progress, cluster - new->start, new->nr_blocks);
	}
	iobuf_free(block);
	return ret;
}

static int co_write_table(struct qcow2 *q, const struct new_refcounts *new)
{
	uint64_t bytes = new->table_clusters << q->cluster_bits;
	uint64_t *disk = try_iobuf_alloc0(bytes);
	int ret;

	if (!disk)
		return -ENOMEM;
	for (uint64_t i = 0; i < new->nr_groups; i++)
		disk[i] = htobe64(new->table[i]);
	ret = image_co_pwrite(q->file, (new->start + new->nr_blocks) << q->cluster_bits, bytes,
			      disk, 0);
	iobuf_free(disk);
	return ret;
}

static int co_write(struct qcow2 *q, const struct survey *s, const struct amend_progress *progress)
	REQUIRES(q->alloc_lock)
{
	struct new_refcounts *new = s->new;
	uint64_t size = (new->table_clusters << q->cluster_bits) / sizeof(uint64_t);

	new->table = g_try_new0(uint64_t, size);
	new->state = g_try_malloc0(div_round_up(size, REFTABLE_UNIT_ENTRIES));
	if (!new->table || !new->state)
		return -ENOMEM;
	qcow2_raise_zero_off(q, new->start + nr_clusters(new));
	return co_write_blocks(q, s, progress) ?: co_write_table(q, new);
}

/* ---- putting it in place ---- */

static void move_metadata(struct qcow2 *q, const struct survey *s) REQUIRES(q->alloc_lock)
{
	const struct new_refcounts *new = s->new;

	for (uint64_t i = 0; i < q->reftable_size; i++)
		if (q->reftable[i])
			qcow2_remove_metadata(q, qcow2_cluster_index(q, q->reftable[i]), 1);
	qcow2_remove_metadata(q, qcow2_cluster_index(q, q->reftable_off),
			      qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t)));
	qcow2_add_metadata(q, METADATA_REFBLOCK, new->start, new->nr_blocks);
	qcow2_add_metadata(q, METADATA_REFTABLE, new->start + new->nr_blocks, new->table_clusters);
}

static void set_order(struct qcow2 *q, unsigned order)
{
	q->refcount_order = order;
	q->refblock_bits = q->cluster_bits + 3 - order;
}

/* C3: the update first makes everything written before durable. */
static int co_settle(struct qcow2 *q, const struct survey *s, GError **err) REQUIRES(q->alloc_lock)
{
	struct new_refcounts *new = s->new;
	uint64_t old_off = q->reftable_off, old_size = q->reftable_size;
	uint64_t off = (new->start + new->nr_blocks) << q->cluster_bits;
	uint64_t size = (new->table_clusters << q->cluster_bits) / sizeof(uint64_t);
	unsigned old_order = q->refcount_order;
	int ret;

	q->reftable_off = off;
	q->reftable_size = size;
	set_order(q, new->order);
	ret = qcow2_co_update_header(q, err);
	q->reftable_off = old_off;
	q->reftable_size = old_size;
	if (ret) {
		set_order(q, old_order);
		qcow2_co_settle_header(q);
		return ret;
	}
	move_metadata(q, s);
	qcow2_refcount_replace(q, g_steal_pointer(&new->table), g_steal_pointer(&new->state), size,
			       off, 0);
	return 0;
}

int qcow2_amend_co_refcount_order(struct qcow2 *q, unsigned order,
				  const struct amend_progress *progress, GError **err)
{
	struct new_refcounts new = { .order = order, .block_bits = q->cluster_bits + 3 - order };
	g_autoptr(GError) reason = NULL;
	struct survey s = {
		.q = q,
		.new = &new,
		.max = order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1,
		.err = &reason,
	};
	int ret;

	co_mutex_lock(&q->alloc_lock);
	s.blocks = old_blocks(q);
	ret = co_plan(q, &s) ?: co_write(q, &s, progress) ?: co_settle(q, &s, &reason);
	co_mutex_unlock(&q->alloc_lock);
	g_hash_table_destroy(s.blocks);
	clear(&new);
	if (reason)
		g_propagate_error(err, g_steal_pointer(&reason));
	else if (ret)
		error_set(err, ret, "cannot change the refcount width");
	return ret;
}
