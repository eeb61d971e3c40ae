// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Refcounts: loads, changes and writes them, and finds free clusters.
 *
 * Everything here runs under alloc_lock. In memory a refcount is never below the number of pointers
 * that are on disk or on their way there: it is raised before a plan is made, and only reclaim.c
 * lowers it. So slices and table may be written at any time and in any order (C1, C4), with one
 * exception: a table entry is written only once its block is on disk (C3); until a flush of the
 * file has succeeded, a block is in new_blocks.
 */
#include "qcow2.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"

/* "Refcount block entry": below a byte, "bit 0 means the least significant bit". */
uint64_t qcow2_refcount_load(unsigned order, const void *block, uint64_t index)
{
	switch (order) {
	case 0:
	case 1:
	case 2: {
		unsigned bits = 1u << order, per_byte = 8 / bits;
		uint8_t byte = ((const uint8_t *)block)[index / per_byte];

		return byte >> (index % per_byte * bits) & ((1u << bits) - 1);
	}
	case 3:
		return ((const uint8_t *)block)[index];
	case 4:
		return be16toh(((const uint16_t *)block)[index]);
	case 5:
		return be32toh(((const uint32_t *)block)[index]);
	default:
		return be64toh(((const uint64_t *)block)[index]);
	}
}

void qcow2_refcount_store(unsigned order, void *block, uint64_t index, uint64_t value)
{
	switch (order) {
	case 0:
	case 1:
	case 2: {
		unsigned bits = 1u << order, per_byte = 8 / bits;
		unsigned shift = index % per_byte * bits;
		uint8_t *byte = &((uint8_t *)block)[index / per_byte];

		*byte = (*byte & ~(((1u << bits) - 1) << shift)) | (value << shift);
		break;
	}
	case 3:
		((uint8_t *)block)[index] = value;
		break;
	case 4:
		((uint16_t *)block)[index] = htobe16(value);
		break;
	case 5:
		((uint32_t *)block)[index] = htobe32(value);
		break;
	default:
		((uint64_t *)block)[index] = htobe64(value);
		break;
	}
}

/* ---- the table ---- */

static uint64_t reftable_units(const struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	return div_round_up(q->reftable_size, REFTABLE_UNIT_ENTRIES);
}

static int reftable_co_write_unit(struct qcow2 *q, uint64_t unit) REQUIRES(q->alloc_lock)
{
	uint64_t first = unit * REFTABLE_UNIT_ENTRIES;
	uint64_t nr = MIN(REFTABLE_UNIT_ENTRIES, q->reftable_size - first);
	uint64_t *buf = try_iobuf_alloc(nr * sizeof(uint64_t));
	uint64_t off = q->reftable_off + unit * REFTABLE_UNIT_BYTES;
	int ret;

	if (!buf)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_ALLOC_HOOKUP);
	image_co_event(q->file, IMAGE_EVENT_REFTABLE_UPDATE);
	for (uint64_t i = 0; i < nr; i++)
		buf[i] = htobe64(q->reftable[first + i]);
	/* C3: until they are durable, the table does not name them. */
	for (guint i = 0; i < q->new_blocks->len; i++) {
		uint64_t index = g_array_index(q->new_blocks, uint64_t, i);

		if (index >= first && index - first < nr)
			buf[index - first] = 0;
	}
	ret = qcow2_co_check_metadata(q, METADATA_REFTABLE, off, nr * sizeof(uint64_t))
		      ?: image_co_pwrite(q->file, off, nr * sizeof(uint64_t), buf, 0);
	iobuf_free(buf);
	return ret;
}

static int reftable_co_write_dirty(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	int ret;

	for (uint64_t unit = 0; unit < reftable_units(q); unit++) {
		if (!(q->reftable_state[unit] & REFTABLE_UNIT_DIRTY))
			continue;
		ret = reftable_co_write_unit(q, unit);
		if (ret)
			return ret;
		q->reftable_state[unit] = REFTABLE_UNIT_UNSYNCED;
	}
	return 0;
}

/* ---- slices of refcount blocks ---- */

static gint compare_slices(gconstpointer a, gconstpointer b)
{
	const struct refcount_slice *x = *(const struct refcount_slice *const *)a;
	const struct refcount_slice *y = *(const struct refcount_slice *const *)b;

	return x->host_off < y->host_off ? -1 : x->host_off > y->host_off;
}

/* Collects the dirty slices, by their places in the file. -EIO: something else is there. */
static int find_dirty(struct qcow2 *q, GPtrArray *slices) REQUIRES(q->alloc_lock)
{
	int ret = 0;

	for (unsigned i = 0; i < q->nr_refcount_slices && !ret; i++) {
		struct refcount_slice *slice = &q->refcount_slices[i];

		if (!slice->dirty)
			continue;
		ret = qcow2_co_check_metadata(q, METADATA_REFBLOCK, slice->host_off,
					      q->refcount_slice_bytes);
		g_ptr_array_add(slices, slice);
	}
	g_ptr_array_sort(slices, compare_slices);
	return ret;
}

/* Neighbours go in one write, each with its own of @iovs. */
static GArray *slice_writes(const struct qcow2 *q, const GPtrArray *slices, struct iovec *iovs)
{
	GArray *writes = g_array_new(FALSE, TRUE, sizeof(struct metadata_write));
	struct metadata_write *last = NULL;

	for (guint i = 0; i < slices->len; i++) {
		const struct refcount_slice *slice = slices->pdata[i];
		struct metadata_write write = {
			.host_off = slice->host_off,
			.bytes = q->refcount_slice_bytes,
			.iov = &iovs[i],
			.event = IMAGE_EVENT_REFBLOCK_UPDATE_PART,
		};

		iovs[i] = (struct iovec){ slice->data, q->refcount_slice_bytes };
		if (last && last->host_off + last->bytes == slice->host_off) {
			last->bytes += q->refcount_slice_bytes;
			continue;
		}
		g_array_append_val(writes, write);
		last = &g_array_index(writes, struct metadata_write, writes->len - 1);
	}
	return writes;
}

/* C6: a slice whose write failed stays dirty. */
static void note_written(const struct qcow2 *q, const GPtrArray *slices, const GArray *writes)
{
	guint next = 0;

	for (guint i = 0; i < writes->len; i++) {
		const struct metadata_write *write =
			&g_array_index(writes, struct metadata_write, i);

		for (uint64_t done = 0; done < write->bytes; done += q->refcount_slice_bytes) {
			struct refcount_slice *slice = slices->pdata[next++];

			slice->dirty &= !write->done;
			slice->unsynced |= write->done;
		}
	}
}

static int slices_co_write(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	g_autoptr(GPtrArray) slices = g_ptr_array_new();
	g_autofree struct iovec *iovs = NULL;
	g_autoptr(GArray) writes = NULL;
	int ret = find_dirty(q, slices);

	if (ret || !slices->len)
		return ret;
	iovs = g_new(struct iovec, slices->len);
	writes = slice_writes(q, slices, iovs);
	ret = qcow2_co_write_group(q, (struct metadata_write *)writes->data, writes->len);
	note_written(q, slices, writes);
	return ret;
}

void qcow2_new_blocks_durable(struct qcow2 *q, uint64_t made)
{
	uint64_t still_new = q->blocks_made - made;
	guint nr = q->new_blocks->len > still_new ? q->new_blocks->len - still_new : 0;

	for (guint i = 0; i < nr; i++) {
		uint64_t index = g_array_index(q->new_blocks, uint64_t, i);

		q->reftable_state[index / REFTABLE_UNIT_ENTRIES] |= REFTABLE_UNIT_DIRTY;
	}
	if (nr)
		g_array_remove_range(q->new_blocks, 0, nr);
}

static int new_blocks_co_flush(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	int ret = q->new_blocks->len ? image_co_flush(q->file) : 0;

	if (!ret)
		qcow2_new_blocks_durable(q, q->blocks_made);
	return ret;
}

int qcow2_co_write_refcounts(struct qcow2 *q)
{
	return qcow2_co_settle_header(q) ?:
	       slices_co_write(q)	 ?:
	       new_blocks_co_flush(q)	 ?:
	       reftable_co_write_dirty(q);
}

int qcow2_co_write_reftable(struct qcow2 *q)
{
	return qcow2_co_settle_header(q) ?: new_blocks_co_flush(q) ?: reftable_co_write_dirty(q);
}

void qcow2_refcounts_synced(struct qcow2 *q, bool durable)
{
	for (unsigned i = 0; i < q->nr_refcount_slices; i++) {
		struct refcount_slice *slice = &q->refcount_slices[i];

		/* C6: what may have been lost is dirty again. */
		if (slice->unsynced && !durable)
			slice->dirty = true;
		slice->unsynced = false;
	}
	for (uint64_t unit = 0; unit < reftable_units(q); unit++) {
		if (q->reftable_state[unit] & REFTABLE_UNIT_UNSYNCED && !durable)
			q->reftable_state[unit] |= REFTABLE_UNIT_DIRTY;
		q->reftable_state[unit] &= ~REFTABLE_UNIT_UNSYNCED;
	}
}

static struct refcount_slice *find_victim(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	for (unsigned i = 0; i < 2 * q->nr_refcount_slices; i++) {
		struct refcount_slice *slice = &q->refcount_slices[q->refcount_hand];

		q->refcount_hand = (q->refcount_hand + 1) % q->nr_refcount_slices;
		if (slice->dirty || slice->unsynced)
			continue;
		if (!slice->referenced)
			return slice;
		slice->referenced = false;
	}
	return NULL;
}

static int make_slices_clean(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	int ret = qcow2_co_settle_header(q) ?: slices_co_write(q) ?: image_co_flush(q->file);

	qcow2_refcounts_synced(q, ret == 0);
	if (!ret)
		qcow2_new_blocks_durable(q, q->blocks_made);
	return ret;
}

static int get_slice(struct qcow2 *q, uint64_t host_off, struct refcount_slice **ret_slice)
	REQUIRES(q->alloc_lock)
{
	struct refcount_slice *slice;
	int ret;

	for (unsigned i = 0; i < q->nr_refcount_slices; i++) {
		slice = &q->refcount_slices[i];
		if (slice->host_off == host_off) {
			slice->referenced = true;
			*ret_slice = slice;
			return 0;
		}
	}
	slice = find_victim(q);
	if (!slice) {
		ret = make_slices_clean(q);
		if (ret)
			return ret;
		slice = find_victim(q);
	}
	slice->host_off = 0;
	if (!slice->data)
		slice->data = try_iobuf_alloc(q->refcount_slice_bytes);
	if (!slice->data)
		return -ENOMEM;
	image_co_event(q->file, IMAGE_EVENT_REFBLOCK_LOAD);
	ret = image_co_pread(q->file, host_off, q->refcount_slice_bytes, slice->data);
	if (ret)
		return ret;
	slice->host_off = host_off;
	slice->referenced = true;
	*ret_slice = slice;
	return 0;
}

/* The slice that has the refcount of a cluster whose block exists, and its index there. */
static int slice_of_cluster(struct qcow2 *q, uint64_t cluster, struct refcount_slice **ret_slice,
			    uint64_t *ret_index) REQUIRES(q->alloc_lock)
{
	uint64_t per_slice = ((uint64_t)q->refcount_slice_bytes << 3) >> q->refcount_order;
	uint64_t in_block = cluster & ((1ull << q->refblock_bits) - 1);
	uint64_t block_off = q->reftable[cluster >> q->refblock_bits];

	*ret_index = in_block % per_slice;
	return get_slice(q, block_off + in_block / per_slice * q->refcount_slice_bytes, ret_slice);
}

int qcow2_co_get_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *ret_refcount)
{
	struct refcount_slice *slice;
	uint64_t index;
	int ret;

	if (!qcow2_refblock_exists(q, cluster)) {
		*ret_refcount = 0;
		return 0;
	}
	ret = slice_of_cluster(q, cluster, &slice, &index);
	if (!ret)
		*ret_refcount = qcow2_refcount_load(q->refcount_order, slice->data, index);
	return ret;
}

/* The refcount of a cluster whose block exists. */
static int set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t refcount)
	REQUIRES(q->alloc_lock)
{
	struct refcount_slice *slice;
	uint64_t index;
	int ret = slice_of_cluster(q, cluster, &slice, &index);

	if (ret)
		return ret;
	qcow2_refcount_store(q->refcount_order, slice->data, index, refcount);
	slice->dirty = true;
	return 0;
}

int qcow2_co_add_reference(struct qcow2 *q, uint64_t cluster)
{
	uint64_t max = UINT64_MAX >> (64 - (1u << q->refcount_order));
	uint64_t refcount;
	int ret = qcow2_co_get_refcount(q, cluster, &refcount);

	if (ret)
		return ret;
	return refcount < max ? set_refcount(q, cluster, refcount + 1) : -EMLINK;
}

int qcow2_co_drop_references(struct qcow2 *q, uint64_t cluster, uint64_t references)
{
	uint64_t refcount;
	int ret = qcow2_co_get_refcount(q, cluster, &refcount);

	if (ret)
		return ret;
	/* The image's refcount was wrong. Going on would make it worse. */
	if (refcount < references)
		return -EIO;
	ret = set_refcount(q, cluster, refcount - references);
	if (ret || refcount > references)
		return ret;
	atomic_fetch_add_explicit(&q->nr_given_back, 1, memory_order_relaxed);
	q->free_hint = MIN(q->free_hint, cluster);
	qcow2_leave_cluster(q, cluster);
	return 0;
}

int qcow2_co_put_clusters(struct qcow2 *q, uint64_t cluster, uint64_t nr)
{
	int ret = 0;

	image_co_event(q->file, IMAGE_EVENT_CLUSTER_FREE);
	for (uint64_t i = cluster; i < cluster + nr && !ret; i++)
		ret = qcow2_co_drop_references(q, i, 1);
	return ret;
}

/* ---- allocation ---- */

/*
 * How much one allocation looks at before it takes space at the end: 128 KiB of 16-bit refcounts.
 */
#define SCAN_CLUSTERS 65536u

/*
 * Moves *cluster to one with refcount zero, whose block may not exist, or by @nr clusters.
 * *ret_found: it is free.
 */
static int scan(struct qcow2 *q, uint64_t *cluster, uint64_t nr, bool *ret_found)
	REQUIRES(q->alloc_lock)
{
	uint64_t per_slice = ((uint64_t)q->refcount_slice_bytes << 3) >> q->refcount_order;
	struct refcount_slice *slice;
	uint64_t index;
	int ret;

	*ret_found = false;
	while (nr) {
		*ret_found = !qcow2_refblock_exists(q, *cluster);
		if (*ret_found)
			return 0;
		ret = slice_of_cluster(q, *cluster, &slice, &index);
		if (ret)
			return ret;
		for (; index < per_slice && nr; index++, nr--, ++*cluster) {
			*ret_found = !qcow2_refcount_load(q->refcount_order, slice->data, index);
			if (*ret_found)
				return 0;
		}
	}
	return 0;
}

/*
 * Finds a free cluster; its block may not exist. It is the lowest one, unless that is far away: a
 * large image is searched piece by piece, some at each allocation, and until a hole is found
 * allocations take space behind everything ever written.
 */
static int find_free(struct qcow2 *q, uint64_t *ret_cluster) REQUIRES(q->alloc_lock)
{
	bool found;
	int ret = scan(q, &q->free_hint, SCAN_CLUSTERS, &found);

	*ret_cluster = q->free_hint;
	if (ret || found)
		return ret;
	*ret_cluster = MAX(q->free_hint, q->zero_off >> q->cluster_bits);
	return scan(q, ret_cluster, UINT64_MAX, &found);
}

/* Lowers @end to behind the last cluster in use of its slice. */
static int find_end_in_slice(struct qcow2 *q, uint64_t *end, bool *ret_found)
	REQUIRES(q->alloc_lock)
{
	struct refcount_slice *slice;
	uint64_t index;
	int ret = slice_of_cluster(q, *end - 1, &slice, &index);

	*ret_found = false;
	for (index++; !ret && !*ret_found && index; index--) {
		*ret_found = qcow2_refcount_load(q->refcount_order, slice->data, index - 1);
		*end -= !*ret_found;
	}
	return ret;
}

int qcow2_co_find_end(struct qcow2 *q, struct hole *hole, uint64_t *end)
{
	bool found = false;
	int ret = 0;

	*end = MIN(*end, q->reftable_size << q->refblock_bits);
	while (*end && !found && !ret) {
		uint64_t index = (*end - 1) >> q->refblock_bits;

		if (!q->reftable[index] ||
		    qcow2_co_is_hole(q, hole, q->reftable[index], q->cluster_size))
			*end = index << q->refblock_bits;
		else
			ret = find_end_in_slice(q, end, &found);
	}
	return ret;
}

int64_t qcow2_co_take_run(struct qcow2 *q, uint64_t cluster, uint64_t nr)
{
	uint64_t refcount, taken = 0;
	int ret = 0;

	while (taken < nr && qcow2_refblock_exists(q, cluster + taken)) {
		ret = qcow2_co_get_refcount(q, cluster + taken, &refcount);
		if (ret || refcount)
			break;
		/*
		 * P3: the refcount says that it is free, but one of the image's own tables lies
		 * there.
		 */
		ret = qcow2_co_check_overlap_locked(q, cluster + taken, 1)
			      ?: set_refcount(q, cluster + taken, 1);
		if (ret)
			break;
		taken++;
	}
	return taken ? (int64_t)taken : ret;
}

int qcow2_co_untake_run(struct qcow2 *q, uint64_t cluster, uint64_t nr)
{
	int ret = 0;

	for (uint64_t i = cluster; i < cluster + nr && !ret; i++)
		ret = set_refcount(q, i, 0);
	q->free_hint = MIN(q->free_hint, cluster);
	return ret;
}

/* Clusters at the lowest free place, behind the reserve at most. */
struct taking {
	uint64_t cluster;
	uint64_t nr;
	bool fresh;
	bool ready;
};

/* From the reserve and, if that does not have enough, from what follows it. */
static int64_t take_from_reserve(struct qcow2 *q, struct taking *t, uint64_t nr)
	REQUIRES(q->alloc_lock)
{
	uint64_t end = q->reserve.end;
	int64_t more = 0;

	t->cluster = q->reserve.start;
	t->nr = MIN(nr, end - t->cluster);
	q->reserve.start += t->nr;
	t->ready = q->reserve.start <= q->reserve.durable_end;
	t->fresh = true;
	if (t->nr < nr && end << q->cluster_bits >= q->zero_off &&
	    (end + nr) << q->cluster_bits < QCOW2_MAX_HOST_OFFSET)
		more = qcow2_co_take_run(q, end, nr - t->nr);
	if (more > 0) {
		t->nr += more;
		t->ready = false;
	}
	return t->nr;
}

static int64_t take(struct qcow2 *q, struct taking *t, uint64_t nr) REQUIRES(q->alloc_lock)
{
	int64_t taken;
	bool again;
	int ret;

	do {
		ret = find_free(q, &t->cluster);
		if (ret)
			return ret;
		if (q->reserve.start < q->reserve.end && t->cluster >= q->reserve.start)
			return take_from_reserve(q, t, nr);
		if ((t->cluster + nr) << q->cluster_bits >= QCOW2_MAX_HOST_OFFSET)
			return -EFBIG;
		ret = qcow2_co_make_countable(q, t->cluster, &again);
		if (ret)
			return ret;
	} while (again);

	taken = qcow2_co_take_run(q, t->cluster, nr);
	if (taken < 0)
		return taken;
	if (q->free_hint == t->cluster)
		q->free_hint = t->cluster + taken;
	t->nr = taken;
	t->fresh = t->cluster << q->cluster_bits >= q->zero_off;
	return taken;
}

int qcow2_co_alloc_ready_clusters(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off,
				  uint64_t *ret_nr, bool *ret_fresh, bool *ret_ready)
{
	struct taking t = { 0 };
	int64_t taken;
	int ret;

	image_co_event(q->file, IMAGE_EVENT_CLUSTER_ALLOC);
	ret = qcow2_co_settle_header(q);
	if (ret)
		return ret;
	taken = take(q, &t, nr);
	if (taken < 0)
		return taken;
	atomic_fetch_add_explicit(&q->nr_taken, taken, memory_order_relaxed);
	*ret_host_off = t.cluster << q->cluster_bits;
	*ret_nr = taken;
	*ret_fresh = t.fresh;
	*ret_ready = t.ready;
	qcow2_raise_zero_off(q, t.cluster + taken);
	return 0;
}

int qcow2_co_alloc_clusters(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off, uint64_t *ret_nr,
			    bool *ret_fresh)
{
	bool ready;

	return qcow2_co_alloc_ready_clusters(q, nr, ret_host_off, ret_nr, ret_fresh, &ready);
}

/* ---- open and close ---- */

static int check_reftable_entry(struct qcow2 *q, uint64_t index, GError **err)
	REQUIRES(q->alloc_lock)
{
	uint64_t entry = q->reftable[index];

	if (entry & ~QCOW2_REFTABLE_OFFSET_MASK || qcow2_in_cluster(q, entry) ||
	    entry >= QCOW2_MAX_HOST_OFFSET)
		return error_refuse(err, -EIO,
				    "%s: refcount table entry %" PRIu64 " is 0x%" PRIx64
				    ", must be a multiple of the cluster size %" PRIu32,
				    q->img->filename, index, entry, q->cluster_size);
	return 0;
}

static int reftable_co_load(struct qcow2 *q, GError **err) REQUIRES(q->alloc_lock)
{
	uint64_t bytes = q->reftable_size * sizeof(uint64_t);
	uint64_t slices = (uint64_t)q->nr_refcount_slices * q->refcount_slice_bytes;
	int ret =
		qcow2_take_memory(q, bytes + reftable_units(q) + slices, "the refcount table", err);

	if (ret)
		return ret;
	image_co_event(q->file, IMAGE_EVENT_REFTABLE_LOAD);
	q->reftable = g_try_new0(uint64_t, q->reftable_size);
	q->reftable_state = g_try_malloc0(reftable_units(q));
	if (!q->reftable || !q->reftable_state)
		ret = -ENOMEM;
	else
		ret = image_co_pread(q->file, q->reftable_off, bytes, q->reftable);
	if (ret)
		return error_set(err, ret, "%s: cannot read the refcount table", q->img->filename);
	for (uint64_t i = 0; i < q->reftable_size; i++) {
		q->reftable[i] = be64toh(q->reftable[i]);
		ret = check_reftable_entry(q, i, err);
		if (ret)
			return ret;
	}
	return 0;
}

int qcow2_co_refcount_init(struct qcow2 *q, GError **err)
{
	uint64_t bytes = q->refcount_cache_bytes ?: QCOW2_DEFAULT_REFCOUNT_CACHE_BYTES;
	int ret;

	q->refcount_slice_bytes = MIN(q->cluster_size, 4096);
	q->nr_refcount_slices = bytes / q->refcount_slice_bytes;
	co_mutex_lock(&q->alloc_lock);
	q->refcount_slices = g_try_new0(struct refcount_slice, q->nr_refcount_slices);
	q->zero_off = qcow2_clusters_for(q, image_size(q->file)) << q->cluster_bits;
	if (q->refcount_slices)
		ret = reftable_co_load(q, err);
	else
		ret = qcow2_refuse(q, err, -ENOMEM, "no memory for a cache of %" PRIu64 " bytes",
				   bytes);
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

void qcow2_refcount_replace(struct qcow2 *q, uint64_t *reftable, uint8_t *state, uint64_t size,
			    uint64_t reftable_off, uint64_t free_hint)
{
	for (unsigned i = 0; i < q->nr_refcount_slices; i++) {
		struct refcount_slice *slice = &q->refcount_slices[i];

		slice->host_off = 0;
		slice->dirty = slice->unsynced = false;
	}
	g_array_set_size(q->new_blocks, 0);
	g_free(q->reftable);
	g_free(q->reftable_state);
	q->reftable = reftable;
	q->reftable_state = state;
	q->reftable_size = size;
	q->reftable_off = reftable_off;
	q->free_hint = free_hint;
	/* Its cluster may be free now. */
	q->byte_tail = 0;
}

void qcow2_refcount_destroy(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS
{
	for (unsigned i = 0; i < q->nr_refcount_slices; i++)
		iobuf_free(q->refcount_slices[i].data);
	g_free(q->refcount_slices);
	g_free(q->reftable);
	g_free(q->reftable_state);
}
