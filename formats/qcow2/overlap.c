// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The overlap check: nothing is written over the image's own tables, whatever refcounts and L2
 * entries say (P3), and a table is only written where that very table lies. Nor is a table freed
 * because an L2 entry or a refcount says so. A hit marks the image as corrupt.
 *
 * The host clusters of all live metadata are in a table under alloc_lock, with what they are, and
 * in a filter of bits that is read without a lock: a write in place looks there first.
 *
 * A circle with header_write.c, which asks here before it writes a header, like every other writer.
 */
#include "snapshot.h"

#include <inttypes.h>

/* 64 KiB: with the tables of a 1 TiB image, one data cluster in 200 is looked up for nothing. */
#define FILTER_BITS 19

static unsigned filter_bit(uint64_t cluster)
{
	return cluster * 0x9e3779b97f4a7c15ull >> (64 - FILTER_BITS);
}

static bool may_be_metadata(const struct qcow2 *q, uint64_t cluster)
{
	unsigned bit = filter_bit(cluster);

	/* Relaxed: a writer has learnt of its cluster through alloc_lock or an L2 entry. */
	return atomic_load_explicit(&q->metadata_filter[bit / 64], memory_order_relaxed) >>
		       (bit % 64) &
	       1;
}

/* What is known about a cluster: its kind and, for an L2 table, how many L1 tables name it. */
#define KIND_BITS 4
#define KIND_MASK ((1u << KIND_BITS) - 1)

/* Records a cluster. False: it was already metadata. */
static bool set_known(struct qcow2 *q, uint64_t cluster, enum metadata_kind kind, unsigned owners)
	REQUIRES(q->alloc_lock)
{
	unsigned bit = filter_bit(cluster);

	atomic_fetch_or_explicit(&q->metadata_filter[bit / 64], 1ull << (bit % 64),
				 memory_order_relaxed);
	return g_hash_table_insert(q->metadata, GSIZE_TO_POINTER(cluster),
				   GUINT_TO_POINTER(owners << KIND_BITS | kind));
}

static unsigned get_known(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock)
{
	return GPOINTER_TO_UINT(g_hash_table_lookup(q->metadata, GSIZE_TO_POINTER(cluster)));
}

static enum metadata_kind kind_of(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock)
{
	return get_known(q, cluster) & KIND_MASK;
}

/* How many L1 tables name this L2 table; 0 if it is not one. */
static unsigned l2_owners(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock)
{
	return get_known(q, cluster) >> KIND_BITS;
}

void qcow2_add_metadata(struct qcow2 *q, enum metadata_kind kind, uint64_t first_cluster,
			uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		set_known(q, first_cluster + i, kind, 0);
}

void qcow2_remove_metadata(struct qcow2 *q, uint64_t first_cluster, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		g_hash_table_remove(q->metadata, GSIZE_TO_POINTER(first_cluster + i));
}

void qcow2_add_l2_table(struct qcow2 *q, uint64_t cluster)
{
	set_known(q, cluster, METADATA_L2, l2_owners(q, cluster) + 1);
}

void qcow2_drop_l2_table(struct qcow2 *q, uint64_t cluster)
{
	unsigned owners = l2_owners(q, cluster);

	if (owners > 1)
		set_known(q, cluster, METADATA_L2, owners - 1);
	else
		g_hash_table_remove(q->metadata, GSIZE_TO_POINTER(cluster));
}

GHashTable *qcow2_copy_metadata(struct qcow2 *q)
{
	GHashTable *copy = g_hash_table_new(NULL, NULL);
	GHashTableIter iter;
	void *cluster, *known;

	g_hash_table_iter_init(&iter, q->metadata);
	while (g_hash_table_iter_next(&iter, &cluster, &known))
		g_hash_table_insert(copy, cluster, known);
	return copy;
}

static int co_fire(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	bool was_broken = q->broken;

	q->broken = -EIO;
	/* Even if the bit cannot be written, we stop. */
	if (!was_broken)
		qcow2_co_set_corrupt_bit(q);
	return -EIO;
}

/* By the clusters or by the tables, whichever is quicker. */
static bool any_metadata(struct qcow2 *q, uint64_t first_cluster, uint64_t nr)
	REQUIRES(q->alloc_lock)
{
	GHashTableIter iter;
	void *cluster;

	if (nr <= g_hash_table_size(q->metadata)) {
		for (uint64_t i = first_cluster; i < first_cluster + nr; i++)
			if (may_be_metadata(q, i) && kind_of(q, i) != METADATA_NONE)
				return true;
		return false;
	}
	g_hash_table_iter_init(&iter, q->metadata);
	while (g_hash_table_iter_next(&iter, &cluster, NULL))
		if (GPOINTER_TO_SIZE(cluster) - first_cluster < nr)
			return true;
	return false;
}

int qcow2_co_check_overlap_locked(struct qcow2 *q, uint64_t first_cluster, uint64_t nr)
{
	return any_metadata(q, first_cluster, nr) ? co_fire(q) : 0;
}

int qcow2_co_check_last_owners(struct qcow2 *q, uint64_t cluster, uint64_t owners)
{
	return l2_owners(q, cluster) == owners ? 0 : co_fire(q);
}

int qcow2_co_check_metadata(struct qcow2 *q, enum metadata_kind kind, uint64_t host_off,
			    uint64_t bytes)
{
	uint64_t last = qcow2_cluster_index(q, host_off + bytes - 1);

	/* There is none: the image is being opened, or repaired. */
	if (q->broken || !q->metadata)
		return q->broken;
	for (uint64_t i = qcow2_cluster_index(q, host_off); i <= last; i++)
		if (kind_of(q, i) != kind)
			return co_fire(q);
	return 0;
}

int qcow2_co_check_overlap(struct qcow2 *q, uint64_t host_off, uint64_t bytes)
{
	uint64_t last = qcow2_cluster_index(q, host_off + bytes - 1);
	int ret = 0;

	/* An external data file contains no metadata. */
	if (qcow2_has_data_file(q))
		return 0;
	for (uint64_t i = qcow2_cluster_index(q, host_off); i <= last && !ret; i++) {
		if (!may_be_metadata(q, i))
			continue;
		co_mutex_lock(&q->alloc_lock);
		ret = qcow2_co_check_overlap_locked(q, i, 1);
		co_mutex_unlock(&q->alloc_lock);
	}
	return ret;
}

/* Of one element, with the room that a hash table keeps and needs to grow. */
#define METADATA_BYTES 60
#define METADATA_STEP  4096u

/*
 * Takes memory for @nr more of the tables that an image has when it is opened. What is added later
 * grows with what is written, and is not refused.
 */
static int count_metadata(struct qcow2 *q, uint64_t nr, GError **err) REQUIRES(q->alloc_lock)
{
	guint known = g_hash_table_size(q->metadata);
	int ret;

	if (known + nr <= q->metadata_counted)
		return 0;
	nr = MAX(nr, METADATA_STEP);
	ret = qcow2_take_memory(q, nr * METADATA_BYTES, "the list of its tables", err);
	if (!ret)
		q->metadata_counted = known + nr;
	return ret;
}

static int refuse_overlap(struct qcow2 *q, const char *what, uint64_t host_off, GError **err)
{
	return error_refuse(err, -EIO,
			    "%s: the %s at 0x%" PRIx64 " overlaps other metadata; "
			    "the image is corrupt and can only be opened read-only",
			    q->img->filename, what, host_off);
}

int qcow2_claim(struct qcow2 *q, enum metadata_kind kind, const char *what, uint64_t host_off,
		uint64_t bytes, GError **err)
{
	uint64_t first = qcow2_cluster_index(q, host_off);
	uint64_t nr = qcow2_clusters_for(q, bytes);
	int ret = count_metadata(q, nr, err);

	if (ret)
		return ret;
	for (uint64_t i = 0; i < nr; i++)
		if (!set_known(q, first + i, kind, 0))
			return refuse_overlap(q, what, host_off, err);
	return 0;
}

/* The same for an L2 table, which L1 tables of snapshots may name, too. */
static int claim_l2(struct qcow2 *q, uint64_t host_off, bool shared, GError **err)
	REQUIRES(q->alloc_lock)
{
	uint64_t cluster = qcow2_cluster_index(q, host_off);
	unsigned owners = l2_owners(q, cluster);
	int ret = count_metadata(q, 1, err);

	if (!ret && !set_known(q, cluster, METADATA_L2, owners + 1) && (!owners || !shared))
		ret = refuse_overlap(q, "L2 table", host_off, err);
	return ret;
}

/* When zeroes are skipped: a page. */
#define ENTRIES_AT_ONCE 512

/* Each is looked at no more than twice, whatever the table is like. */
uint32_t qcow2_next_entry(const uint64_t *table, uint32_t index, uint32_t nr)
{
	while (index < nr && !table[index]) {
		uint32_t step = MIN(ENTRIES_AT_ONCE, nr - index);
		bool skips = index % ENTRIES_AT_ONCE == 0 &&
			     buffer_is_zero(&table[index], step * sizeof(*table));

		index += skips ? step : 1;
	}
	return index;
}

/* Asks the table as it was read: its zeroes are in memory, unlike those of q->l1. */
static uint32_t next_l2(const struct qcow2 *q,
			uint32_t index) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	return qcow2_next_entry(q->l1_disk, index, q->l1_size);
}

static int claim_blocks_and_l2(struct qcow2 *q, GError **err) REQUIRES(q->alloc_lock)
{
	int ret = 0;

	for (uint64_t i = 0; i < q->reftable_size && !ret; i++)
		if (q->reftable[i])
			ret = qcow2_claim(q, METADATA_REFBLOCK, "refcount block", q->reftable[i],
					  q->cluster_size, err);
	for (uint32_t i = next_l2(q, 0); i < q->l1_size && !ret; i = next_l2(q, i + 1))
		if (q->l1[i] & QCOW2_OFFSET_MASK)
			ret = claim_l2(q, q->l1[i] & QCOW2_OFFSET_MASK, false, err);
	return ret;
}

static int co_claim_snapshot(struct qcow2 *q, const struct snapshot *snapshot, GError **err)
	REQUIRES(q->alloc_lock)
{
	g_autofree uint64_t *l1 = NULL;
	int ret = qcow2_claim(q, METADATA_OTHER, "L1 table of a snapshot", snapshot->l1_off,
			      snapshot->l1_size * sizeof(uint64_t), err);

	if (ret)
		return ret;
	ret = qcow2_snapshot_co_load_l1(q, snapshot->l1_off, snapshot->l1_size, &l1);
	if (ret)
		error_set(err, ret, "%s: cannot read the L1 table of snapshot %s", q->img->filename,
			  snapshot->id);
	for (uint32_t i = 0; i < snapshot->l1_size && !ret; i++)
		if (l1[i] & QCOW2_OFFSET_MASK)
			ret = claim_l2(q, l1[i] & QCOW2_OFFSET_MASK, true, err);
	return ret;
}

static int claim_snapshots(struct qcow2 *q, GError **err) REQUIRES(q->alloc_lock)
{
	int ret = qcow2_claim(q, METADATA_OTHER, "snapshot table", q->snapshots_off,
			      qcow2_snapshot_table_bytes(q), err);

	for (guint i = 0; i < q->snapshots->len && !ret; i++)
		ret = co_claim_snapshot(q, q->snapshots->pdata[i], err);
	return ret;
}

int qcow2_claim_metadata(struct qcow2 *q, GError **err)
{
	q->metadata = g_hash_table_new(NULL, NULL);
	q->metadata_filter = g_new0(_Atomic uint64_t, (1u << FILTER_BITS) / 64);
	return qcow2_claim(q, METADATA_HEADER, "header", 0, q->cluster_size, err) ?:
	       qcow2_claim(q, METADATA_REFTABLE, "refcount table", q->reftable_off, q->reftable_size * sizeof(uint64_t),
		     err) ?:
	       qcow2_claim(q, METADATA_L1, "L1 table", q->l1_off, q->l1_size * sizeof(uint64_t), err) ?:
	       claim_blocks_and_l2(q, err) ?:
	       claim_snapshots(q, err);
}

void qcow2_metadata_destroy(struct qcow2 *q)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q any more */
{
	g_free((void *)q->metadata_filter);
	if (q->metadata)
		g_hash_table_destroy(q->metadata);
}
