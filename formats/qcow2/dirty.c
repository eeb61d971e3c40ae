// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty bit: while it is set, refcounts and copied flags on disk may be wrong, too
 * low even. Whoever opens the image for writing then counts all references first.
 */
#include "qcow2.h"

#include <inttypes.h>

int qcow2_co_set_dirty(struct qcow2 *q)
{
	int ret = q->broken;

	if (ret || q->version < 3)
		return ret;
	/* Durable before whatever it stands for. */
	if (!q->dirty_users)
		ret = qcow2_co_write_incompatible(q,
						  q->incompatible_features | QCOW2_INCOMPAT_DIRTY);
	if (ret)
		qcow2_co_settle_header(q);
	else
		q->dirty_users++;
	return ret;
}

int qcow2_co_clear_dirty(struct qcow2 *q)
{
	int ret;

	if (q->version < 3)
		return 0;
	if (q->dirty_users > 1) {
		q->dirty_users--;
		return 0;
	}
	/* The refcounts first: without the bit they are believed. */
	ret = qcow2_co_write_refcounts(q) ?: image_co_flush(q->file);
	qcow2_refcounts_synced(q, ret == 0);
	ret = ret
		      ?: qcow2_co_write_incompatible(q, q->incompatible_features &
								~QCOW2_INCOMPAT_DIRTY);
	/* C6: as long as somebody relies on the bit it is there. */
	if (ret)
		qcow2_co_settle_header(q);
	else
		q->dirty_users--;
	return ret;
}

/* ---- opening ---- */

static void tell(const struct qcow2 *q, const struct image_open_opts *opts,
		 const struct image_check_result *result)
{
	g_autofree char *line = NULL;

	if (!opts->warn)
		return;
	line = g_strdup_printf(
		"%s: it was not closed properly, so all references were counted: %" PRIu64
		" errors and %" PRIu64 " leaked clusters were repaired",
		q->img->filename, result->corruptions_fixed, result->leaks_fixed);
	opts->warn(line);
}

int qcow2_co_repair_dirty(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	const struct image_check_opts all = { .fix = IMAGE_CHECK_FIX_LEAKS |
						     IMAGE_CHECK_FIX_ERRORS };
	struct image_check_result result = { 0 };
	int ret;

	if (!(q->incompatible_features & QCOW2_INCOMPAT_DIRTY))
		return 0;
	ret = qcow2_co_check_file(q, &all, &result);
	if (ret) {
		g_set_error(err, UBD_ERROR, -ret,
			    "%s: it was not closed properly, and repairing it failed: %s",
			    q->img->filename, g_strerror(-ret));
		return ret;
	}
	if (result.corruptions || result.check_errors) {
		g_set_error(err, UBD_ERROR, EROFS,
			    "%s: it was not closed properly, and %" PRIu64
			    " errors in it cannot be repaired; it can only be opened read-only",
			    q->img->filename, result.corruptions + result.check_errors);
		return -EROFS;
	}
	tell(q, opts, &result);
	return 0;
}

/* ---- lazy refcounts ---- */

/*
 * With lazy refcounts the bit is set before the first L1 or L2 entry of this open is written,
 * and stays until close. Meanwhile flushes write no refcounts: C1 and C4 are kept by
 * the next open, which counts.
 */
int qcow2_co_be_lazy(struct qcow2 *q)
{
	int ret;

	if (q->lazy_dirty)
		return 0;
	ret = qcow2_co_set_dirty(q);
	if (!ret)
		q->lazy_dirty = true;
	return ret;
}

int qcow2_co_end_lazy(struct qcow2 *q)
{
	int ret = 0;

	co_mutex_lock(&q->alloc_lock);
	/* Without the bit only clusters were given up, and no flush has written that. */
	ret = q->lazy_dirty ? qcow2_co_clear_dirty(q) : qcow2_co_write_refcounts(q);
	if (!ret)
		q->lazy_dirty = false;
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}
