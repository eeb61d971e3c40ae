// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest offsets to host offsets: L1 and L2 entries, read without a lock and
 * changed under alloc_lock.
 */
#include "qcow2.h"

#include <string.h>

int qcow2_entry_type(const struct qcow2 *q, uint64_t entry, enum mapping_type *ret_type)
{
	uint64_t host_off = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_COMPRESSED) {
		*ret_type = MAPPING_COMPRESSED;
		return 0;
	}
	if (entry & QCOW2_L2_RESERVED || qcow2_in_cluster(q, host_off))
		return -EIO;
	if (entry & QCOW2_ZERO) {
		/* Bit 0 "with version 2 ... is always 0". */
		if (q->version < 3)
			return -EIO;
		*ret_type = host_off ? MAPPING_ZERO_ALLOCATED : MAPPING_ZERO;
		return 0;
	}
	/* "The offset may only be 0 with bit 63 set ... when an external data file is used." */
	if (!host_off && entry & QCOW2_COPIED)
		return -EIO;
	*ret_type = host_off ? MAPPING_NORMAL : MAPPING_UNALLOCATED;
	return 0;
}

/* Whether the entry goes on where the ones before it, @clusters of them, left off. */
static bool continues(const struct qcow2 *q, uint64_t first, uint64_t entry, uint64_t clusters)
{
	enum mapping_type type;

	if (qcow2_entry_type(q, entry, &type))
		return false;
	switch (type) {
	case MAPPING_UNALLOCATED:
	case MAPPING_ZERO:
		return entry == first;
	case MAPPING_NORMAL:
	case MAPPING_ZERO_ALLOCATED:
		return entry == first + (clusters << q->cluster_bits);
	case MAPPING_COMPRESSED:
		return false;
	}
	return false;
}

static int map_from_slice(struct qcow2 *q, struct slice *slice, uint64_t guest_off, uint64_t bytes,
			  struct mapping *map)
{
	unsigned index = qcow2_slice_index(q, guest_off);
	uint64_t in_cluster = qcow2_in_cluster(q, guest_off);
	uint64_t wanted = qcow2_clusters_for(q, in_cluster + bytes);
	uint64_t most = (1ull << q->slice_bits) - index;
	uint64_t first = slice_load(slice, index), nr = 1;
	int ret;

	ret = qcow2_entry_type(q, first, &map->type);
	if (ret)
		return ret;
	while (nr < wanted && nr < most && continues(q, first, slice_load(slice, index + nr), nr))
		nr++;
	map->entry = first;
	map->copied = first & QCOW2_COPIED;
	map->host_off = (first & QCOW2_OFFSET_MASK) + in_cluster;
	map->bytes = MIN(bytes, (nr << q->cluster_bits) - in_cluster);
	return 0;
}

static int check_l2_offset(struct qcow2 *q, uint64_t l1_entry)
{
	if (l1_entry & QCOW2_L1_RESERVED || qcow2_in_cluster(q, l1_entry & QCOW2_OFFSET_MASK))
		return -EIO;
	return 0;
}

int qcow2_co_lookup(struct qcow2 *q, uint64_t guest_off, uint64_t bytes, struct mapping *ret_map)
{
	uint32_t l1_index = qcow2_l1_index(q, guest_off);
	uint64_t table_bytes = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t l1_entry;
	struct slice *slice;
	int ret;

	bytes = MIN(bytes, table_bytes - (guest_off & (table_bytes - 1)));
	l1_entry = l1_index < q->l1_size
			   ? atomic_load_explicit(&q->l1[l1_index], memory_order_acquire)
			   : 0;
	if (!(l1_entry & QCOW2_OFFSET_MASK)) {
		*ret_map = (struct mapping){ .type = MAPPING_UNALLOCATED, .bytes = bytes };
		return 0;
	}
	ret = check_l2_offset(q, l1_entry);
	if (ret)
		return ret;
	ret = slice_co_get(q, l1_entry & QCOW2_OFFSET_MASK, guest_off, &slice);
	if (ret)
		return ret;
	ret = map_from_slice(q, slice, guest_off, bytes, ret_map);
	slice_put(slice);
	return ret;
}

/* "Compressed Clusters Descriptor (x = 62 - (cluster_bits - 8))" */
static unsigned compressed_offset_bits(const struct qcow2 *q)
{
	return 62 - (q->cluster_bits - 8);
}

bool qcow2_compressed_entry(const struct qcow2 *q, uint64_t host_off, uint32_t bytes,
			    uint64_t *ret_entry)
{
	unsigned x = compressed_offset_bits(q);
	uint64_t last = host_off + bytes - 1;
	uint64_t extra_sectors = (last >> 9) - (host_off >> 9);

	/* "those upper bits must be set to 0": the ones beyond 55. */
	if (last >> x || last >= QCOW2_MAX_HOST_OFFSET)
		return false;
	*ret_entry = QCOW2_COMPRESSED | extra_sectors << x | host_off;
	return true;
}

void qcow2_compressed_range(const struct qcow2 *q, uint64_t entry, uint64_t *ret_host_off,
			    uint32_t *ret_bytes)
{
	unsigned x = compressed_offset_bits(q);
	uint64_t descriptor = entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED);
	uint64_t host_off = descriptor & ((1ull << x) - 1);
	uint64_t extra_sectors = descriptor >> x;

	*ret_host_off = host_off;
	*ret_bytes = (extra_sectors + 1) * 512 - (host_off & 511);
}

/* Fills a new L2 table with zeroes. C3: it is on disk with the next flush, before its L1 entry. */
static int l2_table_co_create(struct qcow2 *q, uint32_t l1_index) REQUIRES(q->alloc_lock)
{
	uint64_t host_off, nr;
	void *zeroes;
	bool fresh;
	int ret;

	zeroes = try_iobuf_alloc0(q->cluster_size);
	if (!zeroes)
		return -ENOMEM;
	ret = qcow2_co_alloc_clusters(q, 1, &host_off, &nr, &fresh);
	if (ret)
		goto out_free;
	ret = image_co_pwrite(q->file, host_off, q->cluster_size, zeroes, 0);
	if (ret) {
		/* C6: nothing points there; if even this fails, the cluster leaks. */
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, host_off), 1);
		goto out_free;
	}
	qcow2_add_metadata(q, qcow2_cluster_index(q, host_off), 1);
	g_array_append_val(q->dirty_l1, l1_index);
	atomic_store_explicit(&q->l1[l1_index], host_off | QCOW2_COPIED, memory_order_release);
out_free:
	iobuf_free(zeroes);
	return ret;
}

/* Makes the L2 table where there is none, or finds out that it may be written. */
static int l2_table_co_make_writable(struct qcow2 *q, uint32_t l1_index) EXCLUDES(q->alloc_lock)
{
	uint64_t l1_entry, l2_off, refcount;
	int ret;

	co_mutex_lock(&q->alloc_lock);
	l1_entry = atomic_load_explicit(&q->l1[l1_index], memory_order_relaxed);
	l2_off = l1_entry & QCOW2_OFFSET_MASK;
	if (l1_entry & QCOW2_COPIED) {
		ret = 0;
	} else if (!l2_off) {
		ret = l2_table_co_create(q, l1_index);
	} else {
		/* Not marked as ours alone, though there are no snapshots: ask the refcount. */
		ret = qcow2_co_get_refcount(q, qcow2_cluster_index(q, l2_off), &refcount);
		if (!ret && refcount != 1)
			ret = -EIO;
		if (!ret) {
			g_array_append_val(q->dirty_l1, l1_index);
			atomic_store(&q->l1[l1_index], l1_entry | QCOW2_COPIED);
		}
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

int qcow2_co_get_writable_slice(struct qcow2 *q, uint64_t guest_off, struct slice **ret_slice)
{
	uint32_t l1_index = qcow2_l1_index(q, guest_off);
	uint64_t l1_entry;
	int ret;

	if (l1_index >= q->l1_size)
		return -EIO;
	l1_entry = atomic_load_explicit(&q->l1[l1_index], memory_order_acquire);
	ret = check_l2_offset(q, l1_entry);
	if (ret)
		return ret;
	if (!(l1_entry & QCOW2_COPIED)) {
		ret = l2_table_co_make_writable(q, l1_index);
		if (ret)
			return ret;
		l1_entry = atomic_load_explicit(&q->l1[l1_index], memory_order_acquire);
	}
	if (!(l1_entry & QCOW2_OFFSET_MASK))
		return -EIO;
	return slice_co_get(q, l1_entry & QCOW2_OFFSET_MASK, guest_off, ret_slice);
}

static void unlink_clusters(struct qcow2 *q, uint64_t first_off, uint64_t last_off)
	REQUIRES(q->alloc_lock)
{
	struct freed_run run = { .cluster = qcow2_cluster_index(q, first_off) };

	run.nr_clusters = qcow2_cluster_index(q, last_off) - run.cluster + 1;
	if (RULE_BROKEN(4)) {
		qcow2_co_put_clusters(q, run.cluster, run.nr_clusters);
		return;
	}
	g_array_append_val(q->unlinked, run);
	atomic_fetch_add(&q->nr_unlinked, run.nr_clusters);
}

void qcow2_unlink_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t host_off = entry & QCOW2_OFFSET_MASK;
	enum mapping_type type;
	uint32_t bytes;

	if (qcow2_entry_type(q, entry, &type))
		return;
	switch (type) {
	case MAPPING_UNALLOCATED:
	case MAPPING_ZERO:
		break;
	case MAPPING_NORMAL:
	case MAPPING_ZERO_ALLOCATED:
		unlink_clusters(q, host_off, host_off);
		break;
	case MAPPING_COMPRESSED:
		/* One reference on every host cluster that its sectors touch. */
		qcow2_compressed_range(q, entry, &host_off, &bytes);
		unlink_clusters(q, host_off, host_off + bytes - 1);
		break;
	}
}
