// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writing back (C7), one at a time under flush_lock:
 *
 *   1. under alloc_lock: write refcounts; copy the dirty L2 slices, the list of
 *      new L1 entries and the list of freed clusters
 *   2. flush the file: refcounts (C1), all data that these entries point to
 *      (C2) and new, empty L2 tables (C3) are durable; an external data file likewise
 *   3. write the copies of L2 slices and the L1 entries, together and in any order
 *   4. flush the file: everything acknowledged before step 1 is durable
 *   5. clusters freed before step 1 may go (C4); that is the reclaimer's work, for which no
 *      flush waits; reclaim.c
 *
 * When 3 has nothing to write, 2 was all. On failure the copies' originals
 * are marked dirty again and the lists are put back: nothing is lost (C6).
 *
 * What only has to outlive the process ends after 3. The next flush covers what it wrote, by its
 * step 2; the list of freed clusters is left for that one.
 */
#include "qcow2.h"

#include <string.h>

#include "align.h"
#include "rules.h"

/* L1 entries are written in aligned units of this size. */
#define L1_UNIT_ENTRIES (4096 / sizeof(uint64_t))

/* What one write-back takes along. */
struct writeback {
	GPtrArray *slices;	    /* struct slice *, pinned, by host_off */
	uint8_t *copies;	    /* their contents, in that order */
	GArray *l1;		    /* uint32_t */
	struct freed_runs unlinked; /* only if it must be durable */
	uint64_t changes;	    /* how many changes had been made before */
	uint64_t blocks_made;	    /* and how many refcount blocks */
	uint64_t reserve_end;	    /* how far refcounts had been raised */
	bool keep_order;	    /* step 2 is needed before step 3 */
};

static gint compare_slices(gconstpointer a, gconstpointer b)
{
	const struct slice *x = *(const struct slice *const *)a;
	const struct slice *y = *(const struct slice *const *)b;

	return x->host_off < y->host_off ? -1 : x->host_off > y->host_off;
}

/* P3: what step 3 writes is checked in step 1, while the lock is held. */
static int check_targets(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	int ret = 0;

	for (const struct slice *slice = q->dirty_slices; slice && !ret; slice = slice->dirty_next)
		ret = qcow2_co_check_metadata(q, METADATA_L2, slice->host_off,
					      q->cache.slice_bytes);
	for (guint i = 0; i < q->dirty_l1->len && !ret; i++) {
		uint64_t index = g_array_index(q->dirty_l1, uint32_t, i);

		ret = qcow2_co_check_metadata(q, METADATA_L1, q->l1_off + index * sizeof(uint64_t),
					      sizeof(uint64_t));
	}
	return ret;
}

static int copy_dirty_slices(struct qcow2 *q, struct writeback *wb) REQUIRES(q->alloc_lock)
{
	size_t nr = 0;

	for (const struct slice *slice = q->dirty_slices; slice; slice = slice->dirty_next)
		nr++;
	if (!nr)
		return 0;
	wb->copies = try_iobuf_alloc(nr * q->cache.slice_bytes);
	if (!wb->copies)
		return -ENOMEM;
	while (q->dirty_slices) {
		struct slice *slice = q->dirty_slices;

		q->dirty_slices = slice->dirty_next;
		qcow2_slice_begin_clean(slice);
		g_ptr_array_add(wb->slices, slice);
	}
	g_ptr_array_sort(wb->slices, compare_slices);
	for (size_t i = 0; i < nr; i++) {
		const struct slice *slice = wb->slices->pdata[i];

		memcpy(wb->copies + i * q->cache.slice_bytes, (const void *)slice->entries,
		       q->cache.slice_bytes);
	}
	return 0;
}

/*
 * C1, C4: before entries that name clusters. With lazy refcounts it is enough that the image is
 * dirty.
 */
static int write_refcounts(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	/* C7: what becomes durable beside another header than ours would be lost. */
	int ret = qcow2_co_settle_header(q);

	if (ret || RULE_BROKEN(RULE_C1_REFCOUNT_FIRST))
		return ret;
	if (!qcow2_is_lazy(q))
		return qcow2_co_write_refcounts(q);
	if (!q->dirty_slices && !q->dirty_l1->len)
		return 0;
	return qcow2_co_be_lazy(q) ?: qcow2_co_write_reftable(q);
}

/*
 * C3: the table may name the blocks that have just been made, and then step 2 makes that durable.
 * Allocations go on meanwhile; a block that they make in turn is left to write_refcounts().
 */
static int co_flush_new_blocks(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	uint64_t made = q->blocks_made;
	int ret;

	if (!q->new_blocks->len)
		return 0;
	co_mutex_unlock(&q->alloc_lock);
	ret = image_co_flush(q->file);
	co_mutex_lock(&q->alloc_lock);
	if (!ret)
		qcow2_new_blocks_durable(q, made);
	return ret;
}

static int writeback_co_begin(struct qcow2 *q, struct writeback *wb, bool durable)
	EXCLUDES(q->alloc_lock)
{
	int ret;

	wb->slices = g_ptr_array_new();
	qcow2_freed_runs_init(&wb->unlinked);
	co_mutex_lock(&q->alloc_lock);
	qcow2_co_extend_reserve(q);
	ret = co_flush_new_blocks(q) ?:
	      check_targets(q)	     ?:
	      write_refcounts(q)     ?:
	      copy_dirty_slices(q, wb);
	if (!ret) {
		wb->l1 = q->dirty_l1;
		q->dirty_l1 = g_array_new(FALSE, FALSE, sizeof(uint32_t));
		if (durable)
			qcow2_take_unlinked(q, &wb->unlinked);
		wb->changes = atomic_load(&q->changes);
		wb->blocks_made = q->blocks_made;
		wb->reserve_end = q->reserve.end;
		wb->keep_order = q->keep_order || qcow2_has_data_file(q);
		q->keep_order = false;
	}
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

/* What can be written in any order; struct metadata_write. */
static GArray *new_writes(void)
{
	return g_array_new(FALSE, TRUE, sizeof(struct metadata_write));
}

/* Neighbours go in one write. */
static void add_slices(struct qcow2 *q, const struct writeback *wb, GArray *writes)
{
	uint32_t size = q->cache.slice_bytes;
	guint first = 0, end;

	for (; first < wb->slices->len; first = end) {
		const struct slice *slice = wb->slices->pdata[first];
		struct metadata_write write = {
			.host_off = slice->host_off,
			.buf = wb->copies + (size_t)first * size,
			.event = IMAGE_EVENT_L2_UPDATE,
		};

		for (end = first + 1; end < wb->slices->len; end++) {
			const struct slice *next = wb->slices->pdata[end];

			if (next->host_off != slice->host_off + (uint64_t)(end - first) * size)
				break;
		}
		write.bytes = (uint64_t)(end - first) * size;
		g_array_append_val(writes, write);
	}
}

static gint compare_indices(gconstpointer a, gconstpointer b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * From l1_disk, not from l1: an entry made since step 1 names a table that no flush has covered
 * (C3).
 */
static void add_l1(struct qcow2 *q, const struct writeback *wb, GArray *writes)
	REQUIRES(q->flush_lock)
{
	uint64_t added_unit = UINT64_MAX;

	g_array_sort(wb->l1, compare_indices);
	for (guint i = 0; i < wb->l1->len; i++) {
		uint32_t index = g_array_index(wb->l1, uint32_t, i);

		q->l1_disk[index] = htobe64(atomic_load(&q->l1[index]));
	}
	for (guint i = 0; i < wb->l1->len; i++) {
		uint64_t unit = g_array_index(wb->l1, uint32_t, i) / L1_UNIT_ENTRIES;
		uint64_t first = unit * L1_UNIT_ENTRIES;
		struct metadata_write write = {
			.host_off = q->l1_off + first * sizeof(uint64_t),
			.bytes = MIN(L1_UNIT_ENTRIES, q->l1_size - first) * sizeof(uint64_t),
			.buf = &q->l1_disk[first],
			.event = IMAGE_EVENT_L1_UPDATE,
		};

		if (unit != added_unit)
			g_array_append_val(writes, write);
		added_unit = unit;
	}
}

/* Step 3. */
static int co_write_tables(struct qcow2 *q, const struct writeback *wb, bool slices)
	REQUIRES(q->flush_lock)
{
	g_autoptr(GArray) writes = new_writes();

	if (slices)
		add_slices(q, wb, writes);
	add_l1(q, wb, writes);
	return qcow2_co_write_group(q, (struct metadata_write *)writes->data, writes->len);
}

/* Step 2. */
static int co_flush_files(struct qcow2 *q)
{
	int ret = 0;

	if (!RULE_BROKEN(RULE_C2_DATA_DURABLE) || qcow2_has_data_file(q))
		ret = image_co_flush(q->file);
	if (!ret && !RULE_BROKEN(RULE_C2_DATA_DURABLE) && qcow2_has_data_file(q))
		ret = image_co_flush(q->data_file);
	return ret;
}

/* A flush of the file that began after step 1 has ended. */
static void note_synced(struct qcow2 *q, const struct writeback *wb, bool durable)
	EXCLUDES(q->alloc_lock)
{
	co_mutex_lock(&q->alloc_lock);
	qcow2_refcounts_synced(q, durable);
	if (durable) {
		qcow2_new_blocks_durable(q, wb->blocks_made);
		qcow2_reserve_durable(q, wb->reserve_end);
	}
	co_mutex_unlock(&q->alloc_lock);
}

/* Steps 2 to 4; the last one only if the result must be @durable. */
static int writeback_co_run(struct qcow2 *q, const struct writeback *wb, bool durable)
	REQUIRES(q->flush_lock)
{
	bool writes = wb->slices->len || wb->l1->len;
	int ret = RULE_BROKEN(RULE_C3_L2_TABLE) ? co_write_tables(q, wb, false) : 0;

	if (!ret && (wb->keep_order || !writes)) {
		ret = co_flush_files(q);
		note_synced(q, wb, ret == 0);
	}
	if (ret || !writes)
		return ret;
	ret = co_write_tables(q, wb, true);
	if (ret || !durable || RULE_BROKEN(RULE_C7_FLUSH))
		return ret;
	ret = image_co_flush(q->file);
	if (!wb->keep_order)
		note_synced(q, wb, ret == 0);
	return ret;
}

/* Includes step 5. */
static void writeback_finish(struct qcow2 *q, struct writeback *wb) REQUIRES(q->flush_lock)
	EXCLUDES(q->alloc_lock)
{
	atomic_store(&q->changes_written, RULE_BROKEN(RULE_WRITE_BACK_IN_FLIGHT)
						  ? atomic_load(&q->changes)
						  : wb->changes);
	co_mutex_lock(&q->alloc_lock);
	qcow2_unlinked_on_disk(q, &wb->unlinked);
	co_mutex_unlock(&q->alloc_lock);
}

static void writeback_put_back(struct qcow2 *q, struct writeback *wb) EXCLUDES(q->alloc_lock)
{
	co_mutex_lock(&q->alloc_lock);
	for (guint i = 0; i < wb->slices->len; i++)
		qcow2_slice_mark_dirty(q, wb->slices->pdata[i]);
	if (wb->l1)
		g_array_append_vals(q->dirty_l1, wb->l1->data, wb->l1->len);
	qcow2_put_back_unlinked(q, &wb->unlinked);
	q->keep_order = true;
	co_mutex_unlock(&q->alloc_lock);
}

static void writeback_clear(struct writeback *wb)
{
	for (guint i = 0; i < wb->slices->len; i++)
		qcow2_slice_put(wb->slices->pdata[i]);
	g_ptr_array_unref(wb->slices);
	iobuf_free(wb->copies);
	if (wb->l1)
		g_array_unref(wb->l1);
	qcow2_freed_runs_destroy(&wb->unlinked);
}

/* The mutant of C1: refcounts last. */
static int co_write_late(struct qcow2 *q)
{
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_co_write_refcounts(q);
	co_mutex_unlock(&q->alloc_lock);
	return ret ?: image_co_flush(q->file);
}

static int writeback_co(struct qcow2 *q, bool durable) REQUIRES(q->flush_lock)
{
	struct writeback wb = { 0 };
	int ret;

	ret = writeback_co_begin(q, &wb, durable);
	if (!ret)
		ret = writeback_co_run(q, &wb, durable);
	if (!ret && RULE_BROKEN(RULE_C1_REFCOUNT_FIRST))
		ret = co_write_late(q);
	if (ret)
		writeback_put_back(q, &wb);
	else
		writeback_finish(q, &wb);
	writeback_clear(&wb);
	return ret;
}

/*
 * Overlapping flushes share one: a flush that arrives while one runs is served by the next one,
 * whoever starts that.
 */
int qcow2_co_flush_all(struct qcow2 *q)
{
	uint64_t started = atomic_load(&q->flush_started);
	int ret;

	co_mutex_lock(&q->flush_lock);
	/* flush_done > started: that flush began after ours arrived. */
	if (q->flush_done <= started) {
		uint64_t number = atomic_fetch_add(&q->flush_started, 1) + 1;

		ret = writeback_co(q, true);
		q->flush_result = RULE_BROKEN(RULE_C6_FAILED_FLUSH) ? 0 : ret;
		q->flush_done = number;
	}
	ret = q->flush_result;
	co_mutex_unlock(&q->flush_lock);
	if (atomic_load(&q->freed_waits))
		qcow2_start_reclaimer(q);
	return ret;
}

int qcow2_co_flush(struct image *img)
{
	struct qcow2 *q = img->opaque;
	int ret;

	co_rwlock_rdlock(&q->struct_lock);
	ret = qcow2_co_flush_all(q);
	co_rwlock_rdunlock(&q->struct_lock);
	return ret;
}

/* ---- writing back what only has to outlive the process ---- */

/* A range of more slices is not looked through. */
#define MAX_SLICES_LOOKED_AT 64

/*
 * Whether the file has the entry of @guest_off and those beside it in the slice. A slice that is no
 * longer in memory was written; but not finding one proves nothing.
 *
 * What maps the slice need not be looked at: a new L2 table is either empty or a copy of one that
 * the file's L1 table names, so as long as its slice has not changed, both say the same.
 */
static bool slice_is_written(struct qcow2 *q, uint64_t guest_off, uint64_t written)
	REQUIRES_SHARED(q->struct_lock)
{
	uint64_t l1_entry =
		atomic_load_explicit(&q->l1[qcow2_l1_index(q, guest_off)], memory_order_acquire);
	uint64_t l2_off = l1_entry & QCOW2_OFFSET_MASK, slice_off, changed;
	struct slice_peek peek;

	if (!l2_off)
		return true;
	slice_off = qcow2_slice_off(q, l2_off, guest_off);
	if (!qcow2_slice_try_peek(q, slice_off, &peek))
		return qcow2_summary_load(q, slice_off);
	changed = atomic_load_explicit(&peek.slice->changed, memory_order_acquire);
	if (RULE_BROKEN(RULE_WRITE_BACK_OF_OTHERS) && !atomic_load(&peek.slice->dirty))
		changed = 0;
	return changed <= written && qcow2_slice_peek_holds(&peek);
}

/* Whether the file maps the range as memory does, whatever is new elsewhere. */
static bool range_is_written(struct qcow2 *q, uint64_t off, uint64_t bytes)
	REQUIRES_SHARED(q->struct_lock)
{
	uint64_t written = atomic_load(&q->changes_written);
	uint64_t per_slice = 1ull << (q->cluster_bits + q->slice_bits);
	uint64_t end = MIN(bytes > UINT64_MAX - off ? UINT64_MAX : off + bytes,
			   (uint64_t)q->l1_size << (q->cluster_bits + q->l2_bits));

	off = align_down(off, per_slice);
	if (off < end && end - off > MAX_SLICES_LOOKED_AT * per_slice)
		return false;
	for (; off < end; off += per_slice)
		if (!slice_is_written(q, off, written))
			return false;
	return true;
}

/*
 * Call it after a request: the request's changes of the mapping were counted before. What was
 * written in place may rely on changes by others; then it also writes those. In fact it writes all
 * that there are, and one of those that wait for the lock does it for all.
 */
int qcow2_co_write_back(struct image *img, uint64_t off, uint64_t bytes)
{
	struct qcow2 *q = img->opaque;
	uint64_t changes = atomic_load(&q->changes);
	int ret = 0;

	if (atomic_load(&q->changes_written) >= changes)
		return 0;
	co_rwlock_rdlock(&q->struct_lock);
	if (range_is_written(q, off, bytes)) {
		co_rwlock_rdunlock(&q->struct_lock);
		return 0;
	}
	co_mutex_lock(&q->flush_lock);
	if (atomic_load(&q->changes_written) < changes)
		ret = writeback_co(q, false);
	co_mutex_unlock(&q->flush_lock);
	co_rwlock_rdunlock(&q->struct_lock);
	return ret;
}

/* From now on refcounts are raised ahead of need, or are no longer. */
static int co_set_reserve(struct qcow2 *q, bool on) EXCLUDES(q->alloc_lock)
{
	int ret = 0;

	co_mutex_lock(&q->alloc_lock);
	if (!on)
		ret = qcow2_co_release_reserve(q);
	q->may_reserve = on;
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

static bool reserves(struct qcow2 *q) EXCLUDES(q->alloc_lock)
{
	bool on;

	co_mutex_lock(&q->alloc_lock);
	on = q->may_reserve;
	co_mutex_unlock(&q->alloc_lock);
	return on;
}

int qcow2_co_flush_and_reclaim(struct qcow2 *q)
{
	bool on = reserves(q);
	int ret = qcow2_co_flush_all(q) ?: co_set_reserve(q, false);

	/*
	 * With no request in flight, every freed cluster can be given back at once; then that is
	 * written.
	 */
	if (!ret) {
		qcow2_co_reclaim(q);
		ret = qcow2_co_flush_all(q);
	}
	if (on)
		co_set_reserve(q, true);
	return ret;
}

/* ---- room for freed clusters ---- */

int qcow2_co_make_room(struct image *img)
{
	struct qcow2 *q = img->opaque;
	int ret;

	if (!atomic_load(&q->freed_full))
		return 0;
	ret = qcow2_co_flush(img);
	if (!ret)
		qcow2_co_wait_for_room(q);
	return ret;
}

int qcow2_co_make_room_alone(struct qcow2 *q)
{
	return atomic_load(&q->freed_full) ? qcow2_co_flush_and_reclaim(q) : 0;
}
