// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A new image: header, refcount table, refcount blocks, L1 table and, if its clusters are
 * preallocated, all L2 tables and all data, each in one piece; with an external data file the data
 * goes there. Where an entry points follows from its number, so no table is ever in memory as a
 * whole.
 */
#include "create.h"

#include <inttypes.h>
#include <string.h>

#include "align.h"
#include "qcow2.h"

#define PIECE_BYTES (1u << 20)

/* ---- where it all goes ---- */

static unsigned l2_entry_bytes(const struct layout *l)
{
	return l->extended_l2 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

static uint64_t without_refcounts(const struct layout *l)
{
	return 1 + l->l1_clusters + l->nr_l2_tables + l->data_clusters;
}

static uint64_t total_clusters(const struct layout *l)
{
	return without_refcounts(l) + l->reftable_clusters + l->nr_refblocks;
}

static uint64_t reftable_off(const struct layout *l)
{
	return 1ull << l->cluster_bits;
}

static uint64_t refblocks_off(const struct layout *l)
{
	return (1 + l->reftable_clusters) << l->cluster_bits;
}

uint64_t qcow2_layout_l1_off(const struct layout *l)
{
	return refblocks_off(l) + (l->nr_refblocks << l->cluster_bits);
}

static uint64_t l2_off(const struct layout *l)
{
	return qcow2_layout_l1_off(l) + (l->l1_clusters << l->cluster_bits);
}

static uint64_t data_off(const struct layout *l)
{
	return l2_off(l) + (l->nr_l2_tables << l->cluster_bits);
}

/* Refcounts count their own blocks, and the table must name all of those. */
static void plan_refcounts(struct layout *l)
{
	uint64_t per_block = (l->cluster_size * 8) >> l->refcount_order;
	uint64_t total = 0;

	while (total != total_clusters(l)) {
		total = total_clusters(l);
		l->nr_refblocks = div_round_up(total, per_block);
		l->reftable_clusters =
			div_round_up(l->nr_refblocks * sizeof(uint64_t), l->cluster_size);
	}
}

static int check_refcounts(const struct layout *l, GError **err)
{
	if (l->reftable_clusters << l->cluster_bits <= QCOW2_MAX_REFTABLE_BYTES &&
	    total_clusters(l) << l->cluster_bits <= QCOW2_MAX_HOST_OFFSET)
		return 0;
	return error_refuse(err, -EFBIG,
			    "size %" PRIu64
			    " is too large to preallocate with cluster_size %" PRIu64
			    " and refcount_bits %u; use larger clusters",
			    l->size, l->cluster_size, 1u << l->refcount_order);
}

/* The disk and its L1 table. */
static int plan_disk(struct layout *l, uint64_t size, GError **err)
{
	uint64_t l1_covers = l->cluster_size * (l->cluster_size / l2_entry_bytes(l));

	if (size > INT64_MAX - (SECTOR_SIZE - 1))
		return error_refuse(err, -EFBIG, "size %" PRIu64 " is too large", size);
	l->size = align_up(size, SECTOR_SIZE);
	l->l1_entries = div_round_up(l->size, l1_covers);
	if (l->l1_entries * sizeof(uint64_t) > QCOW2_MAX_L1_BYTES)
		return error_refuse(err, -EFBIG,
				    "The image size is too large for file format 'qcow2' (try "
				    "using a larger cluster size): a cluster size of %" PRIu64
				    " allows %" PRIu64 " bytes",
				    l->cluster_size,
				    l1_covers * (QCOW2_MAX_L1_BYTES / sizeof(uint64_t)));
	l->l1_clusters = div_round_up(l->l1_entries * sizeof(uint64_t), l->cluster_size);
	l->guest_clusters = div_round_up(l->size, l->cluster_size);
	return 0;
}

int qcow2_plan_layout(struct layout *l, uint64_t size, GError **err)
{
	int ret = plan_disk(l, size, err);

	if (ret)
		return ret;
	if (l->preallocation != IMAGE_PREALLOC_OFF) {
		l->nr_l2_tables = l->l1_entries;
		l->data_clusters = l->data_file ? 0 : l->guest_clusters;
	}
	plan_refcounts(l);
	return check_refcounts(l, err);
}

int qcow2_count_layout(struct layout *l, uint64_t size, uint64_t *ret_clusters, GError **err)
{
	int ret = plan_disk(l, size, NULL);

	if (ret)
		return error_refuse(
			err, ret, "The image size is too large (try using a larger cluster size)");
	l->nr_l2_tables = l->l1_entries;
	l->data_clusters = l->guest_clusters;
	plan_refcounts(l);
	*ret_clusters = total_clusters(l);
	return 0;
}

/* ---- tables ---- */

/* Makes @bytes of a table, starting at its byte @off. */
typedef void fill_fn(const struct layout *l, uint8_t *buf, uint64_t off, uint64_t bytes);

/* Makes entries that point to @clusters consecutive clusters from @first_off on. */
static void fill_pointers(const struct layout *l, uint64_t *entries, uint64_t index, uint64_t nr,
			  uint64_t first_off, uint64_t clusters, uint64_t flags)
{
	for (uint64_t i = 0; i < nr && index + i < clusters; i++)
		entries[i] = htobe64((first_off + ((index + i) << l->cluster_bits)) | flags);
}

static void fill_reftable(const struct layout *l, uint8_t *buf, uint64_t off, uint64_t bytes)
{
	fill_pointers(l, (uint64_t *)buf, off / sizeof(uint64_t), bytes / sizeof(uint64_t),
		      refblocks_off(l), l->nr_refblocks, 0);
}

static void fill_refblocks(const struct layout *l, uint8_t *buf, uint64_t off, uint64_t bytes)
{
	uint64_t first = (off * 8) >> l->refcount_order;
	uint64_t nr = (bytes * 8) >> l->refcount_order;

	for (uint64_t i = 0; i < nr && first + i < total_clusters(l); i++)
		qcow2_refcount_store(l->refcount_order, buf, i, 1);
}

static void fill_l1(const struct layout *l, uint8_t *buf, uint64_t off, uint64_t bytes)
{
	fill_pointers(l, (uint64_t *)buf, off / sizeof(uint64_t), bytes / sizeof(uint64_t),
		      l2_off(l), l->nr_l2_tables, QCOW2_COPIED);
}

/*
 * Extended entries have no subcluster allocated, so that what is below shows through. Below a raw
 * data file there is nothing, and its contents count.
 */
static void fill_l2(const struct layout *l, uint8_t *buf, uint64_t off, uint64_t bytes)
{
	unsigned words = l2_entry_bytes(l) / sizeof(uint64_t);
	uint64_t first = off / l2_entry_bytes(l), nr = bytes / l2_entry_bytes(l);

	for (uint64_t i = 0; i < nr && first + i < l->guest_clusters; i++) {
		uint64_t *entry = (uint64_t *)buf + i * words;

		fill_pointers(l, entry, first + i, 1, l->data_file ? 0 : data_off(l),
			      l->guest_clusters, QCOW2_COPIED);
		if (l->extended_l2 && l->data_file_raw)
			entry[1] = htobe64(QCOW2_ALL_SUBCLUSTERS);
	}
}

static int co_write_table(const struct layout *l, struct image *file, uint64_t table_off,
			  uint64_t clusters, fill_fn *fill)
{
	uint64_t bytes = clusters << l->cluster_bits;
	uint64_t piece = MIN(bytes, MAX(PIECE_BYTES, l->cluster_size));
	uint8_t *buf;
	int ret = 0;

	if (!bytes)
		return 0;
	buf = try_iobuf_alloc(piece);
	if (!buf)
		return -ENOMEM;
	for (uint64_t off = 0; off < bytes && !ret; off += piece) {
		uint64_t now = MIN(bytes - off, piece);

		memset(buf, 0, now);
		fill(l, buf, off, now);
		ret = image_co_pwrite(file, table_off + off, now, buf, 0);
	}
	iobuf_free(buf);
	return ret;
}

/* ---- data ---- */

/* A file ends before the data, and grows with zeroes; a block device may contain anything. */
static int co_make_data(const struct layout *l, struct image *file, uint64_t off, uint64_t bytes)
{
	uint64_t end = off + bytes;
	uint64_t old_end = MIN(image_size(file), end);
	int ret = 0;

	switch (l->preallocation) {
	case IMAGE_PREALLOC_OFF:
		return l->data_file ? image_co_truncate(file, end) : 0;
	case IMAGE_PREALLOC_METADATA:
		if (old_end > off)
			ret = image_co_pwrite_zeroes(file, off, old_end - off, 0);
		return ret ?: image_co_truncate(file, end);
	case IMAGE_PREALLOC_FALLOC:
		return image_co_pwrite_zeroes(file, off, bytes, IMAGE_REQ_NO_FALLBACK);
	case IMAGE_PREALLOC_FULL:
		return image_co_write_zero_data(file, off, bytes);
	}
	return -EINVAL;
}

int qcow2_co_write_layout(const struct layout *l, struct image *file, struct image *data_file)
{
	uint64_t off = data_file ? 0 : data_off(l);
	uint64_t bytes = data_file ? l->size : l->data_clusters << l->cluster_bits;

	return co_write_table(l, file, reftable_off(l), l->reftable_clusters, fill_reftable) ?:
	       co_write_table(l, file, refblocks_off(l), l->nr_refblocks, fill_refblocks) ?:
	       co_write_table(l, file, qcow2_layout_l1_off(l), l->l1_clusters, fill_l1) ?:
	       co_write_table(l, file, l2_off(l), l->nr_l2_tables, fill_l2) ?:
	       co_make_data(l, data_file ?: file, off, bytes);
}
