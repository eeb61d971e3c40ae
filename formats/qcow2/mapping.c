// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Guest offsets to host offsets: L1 and L2 entries, read without a lock and changed under
 * alloc_lock.
 */
#include "qcow2.h"

#include <string.h>

#include "align.h"
#include "rules.h"

int qcow2_check_descriptor(const struct qcow2 *q, uint64_t desc)
{
	if (desc & QCOW2_COMPRESSED)
		return qcow2_has_data_file(q) ? -EIO : 0;
	if (desc & QCOW2_L2_RESERVED || qcow2_in_cluster(q, desc & QCOW2_OFFSET_MASK))
		return -EIO;
	/* Bit 0 "with version 2 or with extended L2 entries ... is always 0". */
	if (desc & QCOW2_ZERO)
		return q->version < 3 || q->extended_l2 ? -EIO : 0;
	return desc & QCOW2_COPIED && !qcow2_has_cluster(q, desc) ? -EIO : 0;
}

/*
 * Nobody knows what reserved bits mean. Readers go by the other bits, as QEMU does; writers, and
 * everything that counts references, use qcow2_check_entry() and refuse (P3).
 */
static struct l2_entry without_reserved(const struct qcow2 *q, struct l2_entry entry)
{
	if (!(entry.desc & QCOW2_COMPRESSED))
		entry.desc &= ~qcow2_l2_reserved(q);
	return entry;
}

int qcow2_check_entry(const struct qcow2 *q, struct l2_entry entry)
{
	int ret = qcow2_check_descriptor(q, entry.desc);

	if (ret || !q->extended_l2)
		return ret;
	if (entry.desc & QCOW2_COMPRESSED)
		return entry.bitmap ? -EIO : 0;
	if (!subclusters_valid(entry.bitmap))
		return -EIO;
	return subclusters_allocated(entry.bitmap) && !qcow2_has_cluster(q, entry.desc) ? -EIO : 0;
}

static enum mapping_type subcluster_type(const struct qcow2 *q, struct l2_entry entry,
					 unsigned subcluster)
{
	uint32_t bit = 1u << subcluster;
	bool has_cluster = qcow2_has_cluster(q, entry.desc);

	if (subclusters_allocated(entry.bitmap) & bit)
		return MAPPING_NORMAL;
	if (subclusters_zero(entry.bitmap) & bit)
		return has_cluster ? MAPPING_ZERO_ALLOCATED : MAPPING_ZERO;
	return has_cluster ? MAPPING_HOLE : MAPPING_UNALLOCATED;
}

static enum mapping_type cluster_type(const struct qcow2 *q, uint64_t desc)
{
	bool has_cluster = qcow2_has_cluster(q, desc);

	if (desc & QCOW2_ZERO)
		return has_cluster ? MAPPING_ZERO_ALLOCATED : MAPPING_ZERO;
	return has_cluster ? MAPPING_NORMAL : MAPPING_UNALLOCATED;
}

int qcow2_entry_type(const struct qcow2 *q, struct l2_entry entry, unsigned subcluster,
		     enum mapping_type *ret_type)
{
	int ret = qcow2_check_entry(q, entry);

	if (ret)
		return ret;
	if (entry.desc & QCOW2_COMPRESSED)
		*ret_type = MAPPING_COMPRESSED;
	else if (q->extended_l2)
		*ret_type = subcluster_type(q, entry, subcluster);
	else
		*ret_type = cluster_type(q, entry.desc);
	return 0;
}

uint32_t qcow2_data_subclusters(const struct qcow2 *q, struct l2_entry entry)
{
	if (entry.desc & QCOW2_COMPRESSED)
		return QCOW2_ALL_SUBCLUSTERS;
	if (q->extended_l2)
		return subclusters_allocated(entry.bitmap);
	return cluster_type(q, entry.desc) == MAPPING_NORMAL;
}

bool qcow2_run_continues(enum mapping_type type, bool is_next_place)
{
	switch (type) {
	case MAPPING_UNALLOCATED:
	case MAPPING_ZERO:
		return true;
	case MAPPING_HOLE:
	case MAPPING_NORMAL:
	case MAPPING_ZERO_ALLOCATED:
		return is_next_place;
	case MAPPING_COMPRESSED:
		return false;
	}
	return false;
}

/* Whether the entry continues the @clusters entries before it. */
static bool continues(const struct qcow2 *q, enum mapping_type first_type, uint64_t first,
		      struct l2_entry entry, uint64_t clusters)
{
	enum mapping_type type;

	return !qcow2_entry_type(q, entry, 0, &type) && type == first_type &&
	       qcow2_run_continues(type, entry.desc == first + (clusters << q->cluster_bits));
}

/* How many bytes, from the start of a subcluster and within its cluster, are in its state. */
static uint64_t run_bytes(const struct qcow2 *q, struct l2_entry entry, unsigned subcluster)
{
	if (!q->extended_l2)
		return q->cluster_size;
	return (uint64_t)subclusters_run(entry.bitmap, subcluster) << q->subcluster_bits;
}

/*
 * Whether an entry is what most are: a cluster of our own at an aligned offset, and no other bit
 * set. Nothing of what qcow2_check_entry() and qcow2_is_misplaced() look at can be wrong with it.
 */
static bool is_plain(const struct qcow2 *q, uint64_t desc)
{
	uint64_t aligned = QCOW2_OFFSET_MASK & ~((uint64_t)q->cluster_size - 1);

	return (desc & ~aligned) == QCOW2_COPIED && desc & aligned && !q->extended_l2 &&
	       !qcow2_has_data_file(q);
}

/* What map_any() would find from a plain entry on: reads and overwrites spend their time here. */
static void map_plain(const struct qcow2 *q, const struct slice *slice, uint64_t guest_off,
		      uint64_t bytes, uint64_t desc, struct mapping *map)
{
	uint64_t in_cluster = qcow2_in_cluster(q, guest_off);
	unsigned index = qcow2_slice_index(q, guest_off), most = 1u << q->slice_bits;
	uint64_t next = desc, end = q->cluster_size;

	while (end < in_cluster + bytes && ++index < most) {
		next += q->cluster_size;
		if (qcow2_slice_load(q, slice, index).desc != next || !is_plain(q, next))
			break;
		end += q->cluster_size;
	}
	*map = (struct mapping){
		.type = MAPPING_NORMAL,
		.copied = true,
		.host_off = (desc & QCOW2_OFFSET_MASK) + in_cluster,
		.bytes = MIN(bytes, end - in_cluster),
		.entry = desc,
	};
}

/* What map_any() would find in a slice with this summary. */
static void map_summary(const struct qcow2 *q, uint64_t summary, uint64_t guest_off, uint64_t bytes,
			struct mapping *map)
{
	uint64_t in_cluster = qcow2_in_cluster(q, guest_off);
	uint64_t index = qcow2_slice_index(q, guest_off);
	uint64_t entry = summary + (index << q->cluster_bits);
	uint64_t left = (((1ull << q->slice_bits) - index) << q->cluster_bits) - in_cluster;

	*map = (struct mapping){
		.type = MAPPING_NORMAL,
		.copied = entry & QCOW2_COPIED,
		.host_off = (entry & QCOW2_OFFSET_MASK) + in_cluster,
		.bytes = MIN(bytes, left),
		.entry = entry,
	};
}

static int map_any(const struct qcow2 *q, const struct slice *slice, uint64_t guest_off,
		   uint64_t bytes, struct l2_entry loaded, struct mapping *map)
{
	unsigned index = qcow2_slice_index(q, guest_off);
	unsigned subcluster = qcow2_subcluster_index(q, guest_off);
	uint64_t in_cluster = qcow2_in_cluster(q, guest_off);
	uint64_t most = (1ull << q->slice_bits) - index;
	struct l2_entry first = without_reserved(q, loaded);
	uint64_t end, nr = 1; /* from the start of the first cluster */
	int ret;

	map->reserved = first.desc != loaded.desc;
	ret = qcow2_entry_type(q, first, subcluster, &map->type);
	if (ret || qcow2_is_misplaced(q, first.desc, guest_off))
		return ret ?: -EIO;
	end = ((uint64_t)subcluster << q->subcluster_bits) + run_bytes(q, first, subcluster);
	while (!map->reserved && end == nr << q->cluster_bits && end < in_cluster + bytes &&
	       nr < most) {
		struct l2_entry next = qcow2_slice_load(q, slice, index + nr);

		if (!continues(q, map->type, first.desc, next, nr))
			break;
		end += run_bytes(q, next, 0);
		nr++;
	}
	map->entry = first.desc;
	map->copied = qcow2_has_own_cluster(q, first.desc);
	map->host_off = (first.desc & QCOW2_OFFSET_MASK) + in_cluster;
	map->bytes = MIN(bytes, end - in_cluster);
	return 0;
}

static int map_from_slice(const struct qcow2 *q, const struct slice *slice, uint64_t guest_off,
			  uint64_t bytes, struct mapping *map)
{
	struct l2_entry first = qcow2_slice_load(q, slice, qcow2_slice_index(q, guest_off));

	if (!is_plain(q, first.desc))
		return map_any(q, slice, guest_off, bytes, first, map);
	map_plain(q, slice, guest_off, bytes, first.desc, map);
	return 0;
}

static int check_l2_offset(struct qcow2 *q, uint64_t l1_entry)
{
	return qcow2_in_cluster(q, l1_entry & QCOW2_OFFSET_MASK) ? -EIO : 0;
}

static uint64_t load_word(const struct slice *slice, unsigned index)
{
	return be64toh(atomic_load_explicit(&slice->entries[index], memory_order_acquire));
}

static int l1_co_load_entry(struct qcow2 *q, uint32_t index, uint64_t *ret_entry)
{
	uint64_t off = q->l1_off + index * sizeof(uint64_t);
	uint64_t in_slice = off & (q->cache.slice_bytes - 1);
	struct slice_peek peek;
	struct slice *slice;
	int ret;

	*ret_entry = 0;
	if (index >= q->l1_size)
		return 0;
	if (q->l1) {
		*ret_entry = atomic_load_explicit(&q->l1[index], memory_order_acquire);
		return 0;
	}
	if (qcow2_slice_try_peek(q, off - in_slice, &peek)) {
		*ret_entry = load_word(peek.slice, in_slice / sizeof(uint64_t));
		if (qcow2_slice_peek_holds(&peek))
			return 0;
	}
	ret = qcow2_slice_co_get_at(q, off - in_slice, &slice);
	if (ret)
		return ret;
	*ret_entry = load_word(slice, in_slice / sizeof(uint64_t));
	qcow2_slice_put(slice);
	return 0;
}

/*
 * map_from_slice() of the slice at @slice_off, which is loaded if neither it nor its summary is in
 * memory.
 */
static int map_co_load(struct qcow2 *q, uint64_t slice_off, uint64_t guest_off, uint64_t bytes,
		       struct mapping *map)
{
	uint64_t summary = qcow2_summary_load(q, slice_off);
	struct slice_peek peek;
	struct slice *slice;
	int ret;

	if (summary) {
		map_summary(q, summary, guest_off, bytes, map);
		qcow2_l2_cache_count_hit(q);
		return 0;
	}
	if (qcow2_slice_try_peek(q, slice_off, &peek)) {
		ret = map_from_slice(q, peek.slice, guest_off, bytes, map);
		if (qcow2_slice_peek_holds(&peek))
			return ret;
	}
	ret = qcow2_slice_co_get_at(q, slice_off, &slice);
	if (ret)
		return ret;
	ret = map_from_slice(q, slice, guest_off, bytes, map);
	qcow2_slice_put(slice);
	return ret;
}

int qcow2_co_lookup(struct qcow2 *q, uint64_t guest_off, uint64_t bytes, struct mapping *ret_map)
{
	uint64_t table_bytes = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t l1_entry;
	int ret;

	bytes = MIN(bytes, bytes_to_boundary(guest_off, table_bytes));
	ret = l1_co_load_entry(q, qcow2_l1_index(q, guest_off), &l1_entry);
	if (ret)
		return ret;
	if (!(l1_entry & QCOW2_OFFSET_MASK)) {
		*ret_map = (struct mapping){ .type = MAPPING_UNALLOCATED,
					     .bytes = bytes,
					     .reserved = l1_entry & QCOW2_L1_RESERVED };
		return 0;
	}
	ret = check_l2_offset(q, l1_entry);
	if (ret)
		return ret;
	ret = map_co_load(q, qcow2_slice_off(q, l1_entry & QCOW2_OFFSET_MASK, guest_off), guest_off,
			  bytes, ret_map);
	if (ret)
		return ret;
	ret_map->reserved |= !!(l1_entry & QCOW2_L1_RESERVED);
	return 0;
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

static void l1_store_ready(struct qcow2 *q, uint32_t l1_index, uint64_t entry)
	REQUIRES(q->alloc_lock)
{
	atomic_fetch_add(&q->changes, 1);
	g_array_append_val(q->dirty_l1, l1_index);
	atomic_store_explicit(&q->l1[l1_index], entry, memory_order_release);
}

void qcow2_l1_store(struct qcow2 *q, uint32_t l1_index, uint64_t entry)
{
	q->keep_order = true;
	l1_store_ready(q, l1_index, entry);
}

/*
 * A cluster that was never written reads as an empty table, if the file is long enough: a check
 * takes a table behind the file's end for corruption.
 */
static int co_write_empty_table(struct qcow2 *q, uint64_t host_off, bool fresh)
	REQUIRES(q->alloc_lock)
{
	uint64_t end = host_off + q->cluster_size, bytes = q->cluster_size;
	void *zeroes;
	int ret;

	if (fresh && (image_size(q->file) >= end || RULE_BROKEN(RULE_C3_FILE_LENGTH)))
		return 0;
	if (fresh || RULE_BROKEN(RULE_C3_EMPTY_TABLE))
		bytes = MIN(bytes, MAX(q->file->limits.request_alignment, SECTOR_SIZE));
	zeroes = try_iobuf_alloc0(bytes);
	ret = zeroes ? image_co_pwrite(q->file, end - bytes, bytes, zeroes, 0) : -ENOMEM;
	iobuf_free(zeroes);
	return ret;
}

/*
 * Makes a new L2 table with these big-endian entries; NULL: an empty one. C3: the next flush puts
 * it on disk, before its L1 entry.
 */
static int l2_table_co_new(struct qcow2 *q, uint32_t l1_index, const uint64_t *entries)
	REQUIRES(q->alloc_lock)
{
	uint64_t host_off, nr;
	bool fresh, ready;
	int ret;

	ret = qcow2_co_alloc_ready_clusters(q, 1, &host_off, &nr, &fresh, &ready);
	if (ret)
		return ret;
	image_co_event(q->file, IMAGE_EVENT_L2_ALLOC_WRITE);
	if (entries)
		ret = image_co_pwrite(q->file, host_off, q->cluster_size, entries, 0);
	else
		ret = co_write_empty_table(q, host_off, fresh);
	if (ret) {
		/* C6: nothing points there; if even this fails, the cluster leaks. */
		qcow2_co_put_clusters(q, qcow2_cluster_index(q, host_off), 1);
		return ret;
	}
	qcow2_add_l2_table(q, qcow2_cluster_index(q, host_off));
	if (ready && !entries)
		l1_store_ready(q, l1_index, host_off | QCOW2_COPIED);
	else
		qcow2_l1_store(q, l1_index, host_off | QCOW2_COPIED);
	return 0;
}

/*
 * Makes our own table in place of one that snapshots share. Its contents are those on disk, since
 * nobody changes such a table; and everything that it points to is shared.
 */
static int l2_table_co_unshare(struct qcow2 *q, uint32_t l1_index, uint64_t old_off)
	REQUIRES(q->alloc_lock)
{
	uint64_t *entries = try_iobuf_alloc(q->cluster_size);
	int ret;

	image_co_event(q->file, IMAGE_EVENT_L2_ALLOC_COW_READ);
	ret = entries ? image_co_pread(q->file, old_off, q->cluster_size, entries) : -ENOMEM;
	for (uint64_t i = 0; i < 1ull << q->l2_bits && !ret; i++)
		entries[i * qcow2_l2_stride(q)] &= htobe64(~QCOW2_COPIED);
	if (!ret)
		ret = l2_table_co_new(q, l1_index, entries);
	/* C4: with the flush that writes the L1 entry. */
	if (!ret)
		qcow2_unlink_clusters(q, qcow2_cluster_index(q, old_off), 1, true);
	iobuf_free(entries);
	return ret;
}

/* Makes the L2 table if there is none, or finds out that it may be written. */
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
		ret = l2_table_co_new(q, l1_index, NULL);
	} else {
		ret = qcow2_co_get_refcount(q, qcow2_cluster_index(q, l2_off), &refcount);
		if (!ret && !refcount)
			ret = -EIO;
		if (!ret && refcount > 1)
			ret = l2_table_co_unshare(q, l1_index, l2_off);
		else if (!ret)
			qcow2_l1_store(q, l1_index, l1_entry | QCOW2_COPIED);
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
	ret = l1_entry & QCOW2_L1_RESERVED ? -EIO : check_l2_offset(q, l1_entry);
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
	return qcow2_slice_co_get(q, l1_entry & QCOW2_OFFSET_MASK, guest_off, ret_slice);
}

/* The host clusters on which a descriptor holds references; *ret_nr is 0 if there are none. */
static void named_clusters(const struct qcow2 *q, uint64_t desc, uint64_t *ret_first,
			   uint64_t *ret_nr)
{
	uint64_t host_off = desc & QCOW2_OFFSET_MASK;
	uint32_t bytes = 1;

	*ret_nr = 0;
	/* Clusters of an external data file are not counted. */
	if (qcow2_has_data_file(q) || qcow2_check_descriptor(q, desc))
		return;
	if (desc & QCOW2_COMPRESSED)
		qcow2_compressed_range(q, desc, &host_off, &bytes);
	else if (!host_off)
		return;
	*ret_first = qcow2_cluster_index(q, host_off);
	*ret_nr = qcow2_cluster_index(q, host_off + bytes - 1) - *ret_first + 1;
}

int qcow2_co_check_unlink(struct qcow2 *q, uint64_t desc)
{
	uint64_t first, nr;

	named_clusters(q, desc, &first, &nr);
	return nr ? qcow2_co_check_overlap_locked(q, first, nr) : 0;
}

void qcow2_unlink_entry(struct qcow2 *q, uint64_t desc)
{
	uint64_t first, nr;

	named_clusters(q, desc, &first, &nr);
	if (!nr)
		return;
	if (RULE_BROKEN(RULE_C4_REFCOUNT_FALLS)) {
		qcow2_co_put_clusters(q, first, nr);
		return;
	}
	qcow2_unlink_clusters(q, first, nr, false);
}
