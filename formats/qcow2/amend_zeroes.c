// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What entries of version 2 cannot have. Zero flags are removed: they are dropped if nothing lies
 * below, and otherwise become written zeroes. The guest sees no difference at any time. Clusters
 * that are compressed with another method than zlib are refused.
 */
#include "amend.h"

#include <inttypes.h>
#include <string.h>

#include "snapshot.h"

static bool is_zero(uint64_t desc)
{
	return desc & QCOW2_ZERO && !(desc & QCOW2_COMPRESSED);
}

static uint64_t table_covers(const struct qcow2 *q)
{
	return 1ull << (q->cluster_bits + q->l2_bits);
}

/* ---- the disk ---- */

static bool may_drop(struct qcow2 *q, uint64_t off)
{
	return off >= image_size(q->img) || qcow2_nothing_below(q, off);
}

static int co_drop(struct qcow2 *q, uint64_t off) REQUIRES(q->struct_lock)
{
	unsigned index = qcow2_slice_index(q, off);
	struct slice *slice;
	uint64_t desc;
	int ret = qcow2_co_get_writable_slice(q, off, &slice);

	if (ret)
		return ret;
	co_mutex_lock(&q->alloc_lock);
	desc = qcow2_slice_load(q, slice, index).desc;
	ret = qcow2_co_check_unlink(q, desc);
	if (!ret) {
		qcow2_unlink_entry(q, desc);
		qcow2_slice_store(q, slice, index, (struct l2_entry){ 0 });
	}
	co_mutex_unlock(&q->alloc_lock);
	qcow2_slice_put(slice);
	return ret;
}

static int co_write_zeroes(struct qcow2 *q, uint64_t off, void *zeroes) REQUIRES(q->struct_lock)
{
	uint64_t bytes = MIN(q->cluster_size, image_size(q->img) - off);
	struct iovec vec;

	return qcow2_co_write_range(q, off, bytes, IOBUF(&vec, zeroes, bytes));
}

/* Handles one whole L2 table, which may be replaced by another meanwhile. */
static int co_expand_table(struct qcow2 *q, uint64_t start, void *zeroes) REQUIRES(q->struct_lock)
{
	int ret = 0;

	for (uint64_t off = start; off < start + table_covers(q) && !ret; off += q->cluster_size) {
		uint64_t l2_off = atomic_load(&q->l1[qcow2_l1_index(q, off)]) & QCOW2_OFFSET_MASK;
		struct slice *slice;
		bool zero;

		ret = qcow2_slice_co_get(q, l2_off, off, &slice);
		if (ret)
			break;
		zero = is_zero(qcow2_slice_load(q, slice, qcow2_slice_index(q, off)).desc);
		qcow2_slice_put(slice);
		if (zero)
			ret = may_drop(q, off) ? co_drop(q, off) : co_write_zeroes(q, off, zeroes);
	}
	return ret;
}

static int co_expand_disk(struct qcow2 *q, const struct amend_progress *progress)
	REQUIRES(q->struct_lock)
{
	void *zeroes = try_iobuf_alloc0(q->cluster_size);
	int ret = zeroes ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < q->l1_size && !ret; i++) {
		if (atomic_load(&q->l1[i]) & QCOW2_OFFSET_MASK)
			ret = co_expand_table(q, i * table_covers(q), zeroes)
				      ?: qcow2_co_make_room_alone(q);
		qcow2_amend_report(progress, i + 1, q->l1_size);
	}
	iobuf_free(zeroes);
	return ret ?: qcow2_co_flush_and_reclaim(q);
}

/* ---- entries of one kind ---- */

/* The tables must have been flushed. */
static int co_table_has(struct qcow2 *q, uint64_t l1_entry, bool (*is_kind)(uint64_t desc),
			bool *ret_has)
{
	uint64_t *table;
	int ret;

	if (!(l1_entry & QCOW2_OFFSET_MASK))
		return 0;
	table = try_iobuf_alloc(q->cluster_size);
	ret = table ? image_co_pread(q->file, l1_entry & QCOW2_OFFSET_MASK, q->cluster_size, table)
		    : -ENOMEM;
	for (uint64_t i = 0; !ret && i < 1ull << q->l2_bits; i++)
		*ret_has |= is_kind(qcow2_l2_table_entry(q, table, i).desc);
	iobuf_free(table);
	return ret;
}

static int co_snapshot_has(struct qcow2 *q, const struct snapshot *snapshot,
			   bool (*is_kind)(uint64_t desc), bool *ret_has)
{
	g_autofree uint64_t *l1 = NULL;
	int ret = qcow2_snapshot_co_load_l1(q, snapshot->l1_off, snapshot->l1_size, &l1);

	for (uint32_t i = 0; i < snapshot->l1_size && !ret && !*ret_has; i++)
		ret = co_table_has(q, l1[i], is_kind, ret_has);
	return ret;
}

/* ---- compressed clusters ---- */

static bool is_compressed(uint64_t desc)
{
	return desc & QCOW2_COMPRESSED;
}

int qcow2_amend_co_check_uncompressed(struct qcow2 *q, GError **err)
{
	bool has = false;
	int ret = 0;

	for (uint32_t i = 0; i < q->l1_size && !ret && !has; i++)
		ret = co_table_has(q, atomic_load(&q->l1[i]), is_compressed, &has);
	for (guint i = 0; i < q->snapshots->len && !ret && !has; i++)
		ret = co_snapshot_has(q, q->snapshots->pdata[i], is_compressed, &has);
	if (ret)
		return error_set(err, ret, "cannot look for compressed clusters");
	if (!has)
		return 0;
	return error_refuse(err, -ENOTSUP,
			    "Cannot downgrade an image with zstd compression type and existing "
			    "compressed clusters");
}

/* ---- zero clusters ---- */

/* The data of snapshots stays as it is. */
static int co_check_snapshot(struct qcow2 *q, const struct snapshot *snapshot, GError **err)
{
	bool has = false;
	int ret = co_snapshot_has(q, snapshot, is_zero, &has);

	if (ret)
		error_set(err, ret, "cannot read snapshot '%s'", snapshot->name);
	else if (has)
		g_set_error(err, UBD_ERROR, ENOTSUP,
			    "snapshot '%s' has zero clusters, which version 2 cannot have; "
			    "delete it first",
			    snapshot->name);
	return ret ?: has ? -ENOTSUP : 0;
}

int qcow2_amend_co_expand_zeroes(struct qcow2 *q, const struct amend_progress *progress,
				 GError **err)
{
	int ret = 0;

	for (guint i = 0; i < q->snapshots->len && !ret; i++)
		ret = co_check_snapshot(q, q->snapshots->pdata[i], err);
	if (ret)
		return ret;
	ret = co_expand_disk(q, progress);
	if (ret)
		error_set(err, ret, "cannot replace zero clusters");
	return ret;
}
