// SPDX-License-Identifier: GPL-2.0-or-later
/* qcow2: open, close, and the table of what the format implements. */
#include "options.h"
#include "snapshot.h"

#include <inttypes.h>

#include "rules.h"

/*
 * The default cache maps 256 GiB of a disk with 64 KiB clusters; a smaller disk gets a smaller one.
 */
#define DEFAULT_CACHE_BYTES    (32ull << 20)

/* A longer L1 table of an image that is only read is not loaded as a whole. */
#define MAX_READ_ONLY_L1_BYTES (64u << 10)

#ifdef UBD_MUTANTS
enum qcow2_rule qcow2_broken_rule;
#endif

/* Either the image was never written to, or the end of its file is missing. */
static void warn_of_missing_l1(const struct qcow2 *q, const struct image_open_opts *opts)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	uint64_t bytes = (uint64_t)q->l1_size * sizeof(uint64_t);
	g_autofree char *line = NULL;

	if (!opts->warn || q->img->flags & (IMAGE_FOR_CHECK | IMAGE_INFO_ONLY) ||
	    !qcow2_is_behind_end(q, q->l1_off, bytes))
		return;
	line = g_strdup_printf("%s: the L1 table lies beyond the end of the file; what it should "
			       "map reads as unallocated",
			       q->img->filename);
	opts->warn(line);
}

/* A huge page takes half the time to read into that 256 small ones take. */
static void *l1_disk_alloc(uint64_t bytes)
{
	if (bytes >= IOBUF_HUGE_BYTES / 2)
		bytes = align_up(bytes, IOBUF_HUGE_BYTES);
	return try_iobuf_alloc_huge(bytes);
}

static bool loads_l1(const struct qcow2 *q)
{
	return !image_is_read_only(q->img) ||
	       q->l1_size * sizeof(uint64_t) <= MAX_READ_ONLY_L1_BYTES;
}

static int l1_init(struct qcow2 *q,
		   GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	uint64_t bytes = (uint64_t)q->l1_size * sizeof(uint64_t);
	int ret;

	if (!loads_l1(q))
		return 0;
	ret = qcow2_take_memory(q, qcow2_l1_memory(q->l1_size), "the L1 table", err);
	if (ret)
		return ret;
	/* At least one entry, so that a disk of size 0 needs no special case. */
	q->l1_disk = bytes ? l1_disk_alloc(bytes) : try_iobuf_alloc0(sizeof(uint64_t));
	q->l1 = g_try_new0(_Atomic uint64_t, MAX(q->l1_size, 1));
	if (!q->l1_disk || !q->l1)
		return error_set(err, -ENOMEM, "%s: cannot read the L1 table", q->img->filename);
	return 0;
}

struct l1_load {
	struct qcow2 *q;
	int ret;
};

static void l1_load_co(void *arg) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	struct l1_load *load = arg;
	struct qcow2 *q = load->q;

	load->ret = image_co_pread(q->file, q->l1_off, q->l1_size * sizeof(uint64_t), q->l1_disk);
	if (load->ret)
		return;
	/* Zeroes are there, and take no memory as long as nobody writes them. */
	for (uint32_t i = qcow2_next_entry(q->l1_disk, 0, q->l1_size); i < q->l1_size;
	     i = qcow2_next_entry(q->l1_disk, i + 1, q->l1_size))
		atomic_store_explicit(&q->l1[i], be64toh(q->l1_disk[i]), memory_order_relaxed);
}

/* Both tables at once: they may be long, and the image can be used only after that. */
static int co_load_tables(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	struct l1_load load = { .q = q };
	struct co_group reads = { 0 };
	int ret = 0;

	if (loads_l1(q) && q->l1_size)
		co_group_start(&reads, l1_load_co, &load);
	if (q->img->flags & IMAGE_RDWR)
		ret = qcow2_co_refcount_init(q, err);
	co_group_wait(&reads);
	if (!ret && load.ret)
		ret = error_set(err, load.ret, "%s: cannot read the L1 table", q->img->filename);
	if (!ret)
		warn_of_missing_l1(q, opts);
	return ret;
}

static int cache_init(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	uint64_t all_tables = (uint64_t)q->l1_size << q->cluster_bits;
	/* The images below it get a part of the rest. */
	uint64_t most = MIN(DEFAULT_CACHE_BYTES, image_memory_left(q->img) / IMAGE_CACHE_SHARE);

	return qcow2_l2_cache_init(q, q->cache_bytes ?: opts->cache_bytes ?: MIN(most, all_tables), err);
}

static void qcow2_free(struct qcow2 *q)
	NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q any more */
{
	qcow2_l2_cache_destroy(q);
	qcow2_refcount_destroy(q);
	qcow2_metadata_destroy(q);
	qcow2_bitmaps_destroy(q);
	g_free((void *)q->l1);
	iobuf_free(q->l1_disk);
	g_array_unref(q->dirty_l1);
	g_array_unref(q->new_blocks);
	qcow2_freed_runs_destroy(&q->unlinked);
	qcow2_freed_runs_destroy(&q->freed[0]);
	qcow2_freed_runs_destroy(&q->freed[1]);
	qcow2_freed_runs_destroy(&q->reclaimable);
	g_ptr_array_unref(q->extensions);
	g_free(q->data_filename);
	if (q->unknown_fields)
		g_bytes_unref(q->unknown_fields);
	g_ptr_array_unref(q->snapshots);
	co_queue_destroy(&q->plan_ended);
	co_queue_destroy(&q->packing_turn_changed);
	thread_lock_destroy(&q->packing_lock);
	qcow2_reclaimer_destroy(q);
	co_queue_destroy(&q->reclaimed);
	co_mutex_destroy(&q->reclaim_lock);
	co_mutex_destroy(&q->flush_lock);
	co_mutex_destroy(&q->alloc_lock);
	co_mutex_destroy(&q->bitmap_lock);
	co_rwlock_destroy(&q->struct_lock);
	iobuf_free(q);
}

static struct qcow2 *qcow2_new(struct image *img) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	struct qcow2 *q = try_iobuf_alloc0(sizeof(*q));

	if (!q)
		return NULL;
	q->img = img;
	q->file = img->file;
	q->data_file = img->file;
	q->unmap = img->flags & IMAGE_UNMAP;
	q->unmap_snapshots = q->unmap;
	co_rwlock_init(&q->struct_lock);
	co_mutex_init(&q->bitmap_lock);
	co_mutex_init(&q->alloc_lock);
	co_mutex_init(&q->flush_lock);
	co_mutex_init(&q->reclaim_lock);
	co_queue_init(&q->reclaimed);
	co_queue_init(&q->plan_ended);
	co_queue_init(&q->packing_turn_changed);
	thread_lock_init(&q->packing_lock);
	q->dirty_l1 = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	q->new_blocks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
	qcow2_freed_runs_init(&q->unlinked);
	qcow2_freed_runs_init(&q->freed[0]);
	qcow2_freed_runs_init(&q->freed[1]);
	qcow2_freed_runs_init(&q->reclaimable);
	q->max_freed_runs = QCOW2_MAX_FREED_RUNS;
	q->extensions = qcow2_header_extensions_new();
	q->snapshots = g_ptr_array_new_with_free_func(qcow2_snapshot_free);
	/* Not zero, so that `epoch - 1` of reclaim.c needs no special case. */
	q->epoch = 1;
	return q;
}

static int prepare_for_writing(struct qcow2 *q, GError **err)
{
	int ret;

	co_mutex_lock(&q->alloc_lock);
	ret = qcow2_claim_metadata(q, err);
	co_mutex_unlock(&q->alloc_lock);
	ret = ret ?: qcow2_co_bitmaps_open(q, err);
	if (ret)
		return ret;
	qcow2_co_grow_ahead(q);
	ret = qcow2_co_clear_autoclear(q);
	if (ret)
		error_set(err, ret, "%s: cannot write the header", q->img->filename);
	return ret;
}

static int co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct qcow2 *q = qcow2_new(img);
	int ret;

	img->data_file = opts->data_file;
	if (!q) {
		image_co_close(img->data_file);
		return error_refuse(err, -ENOMEM, "%s: no memory", img->filename);
	}
	ret = qcow2_co_read_header(q, opts, err) ?:
	      qcow2_take_options(q, opts, err) ?:
	      qcow2_co_open_data_file(q, opts, err);
	if (!ret && img->flags & IMAGE_RDWR)
		ret = qcow2_check_writable(q, err)   ?:
		      qcow2_reclaimer_init(q, err) ?:
		      qcow2_co_repair_dirty(q, opts, err);
	ret = ret				   ?:
	      qcow2_snapshot_table_co_load(q, opts, err) ?:
	      qcow2_snapshot_select(q, opts, err)	   ?:
	      l1_init(q, err)			   ?:
	      cache_init(q, opts, err)		   ?:
	      co_load_tables(q, opts, err);
	if (!ret && img->flags & IMAGE_RDWR)
		ret = prepare_for_writing(q, err);
	if (ret) {
		qcow2_co_end_reclaimer(q);
		qcow2_co_close_data_file(q);
		qcow2_free(q);
		return ret;
	}
	img->opaque = q;
	img->limits = q->data_file->limits;
	img->limits.cluster_size = q->cluster_size;
	img->limits.zero_alignment = 1u << q->subcluster_bits;
	return 0;
}

static int co_close(struct image *img)
{
	struct qcow2 *q = img->opaque;
	int ret = 0, flush_ret = 0, data_ret;

	if (img->flags & IMAGE_RDWR) {
		ret = qcow2_co_bitmaps_close(q);
		flush_ret = qcow2_co_flush_and_reclaim(q) ?: qcow2_co_end_lazy(q);
		qcow2_co_end_reclaimer(q);
	}
	data_ret = qcow2_co_close_data_file(q);
	qcow2_free(q);
	return ret ?: flush_ret ?: data_ret;
}

const struct format_ops image_qcow2_format = {
	.io = {
		.name = "qcow2",
		.co_close = co_close,
		.co_preadv = qcow2_co_preadv,
		.co_pwritev = qcow2_co_pwritev,
		.co_pwrite_compressed = qcow2_co_pwrite_compressed,
		.co_copy_up = qcow2_co_copy_up,
		.co_read_vm_state = qcow2_co_read_vm_state,
		.co_write_vm_state = qcow2_co_write_vm_state,
		.co_flush = qcow2_co_flush,
		.co_write_back = qcow2_co_write_back,
		.co_pdiscard = qcow2_co_pdiscard,
		.co_pwrite_zeroes = qcow2_co_pwrite_zeroes,
		.co_block_status = qcow2_co_block_status,
	},
	.options = qcow2_options,
	.create_options = qcow2_create_options,
	.second_child = "data-file",
	.co_open = co_open,
	.co_resize = qcow2_co_resize,
	.amend_options = qcow2_amend_options,
	.co_amend = qcow2_co_amend,
	.co_finish = qcow2_co_finish,
	.co_set_backing = qcow2_co_set_backing,
	.co_make_empty = qcow2_co_make_empty,
	.co_get_info = qcow2_co_get_info,
	.co_check = qcow2_co_check,
	.add_stats = qcow2_add_stats,
	.give_back = qcow2_l2_cache_give_back,
	.load_compression = qcow2_load_compression,
	.co_snapshot_list = qcow2_co_snapshot_list,
	.co_snapshot_create = qcow2_co_snapshot_create,
	.co_snapshot_apply = qcow2_co_snapshot_apply,
	.co_snapshot_delete = qcow2_co_snapshot_delete,
	.can_hold_bitmaps = qcow2_can_hold_bitmaps,
	.co_bitmap_list = qcow2_co_bitmap_list,
	.co_bitmap_load = qcow2_co_bitmap_load,
	.co_bitmap_change = qcow2_co_bitmap_change,
	.co_bitmap_merge = qcow2_co_bitmap_merge,
	.check_create = qcow2_check_create,
	.co_create = qcow2_co_create,
	.co_measure = qcow2_co_measure,
};
