// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty bit: while it is set, refcounts and copied flags on disk may be wrong, refcounts even
 * too low. Whoever opens the image for writing then counts all references first; see repair.c.
 */
#include "qcow2.h"

int qcow2_co_set_dirty(struct qcow2 *q)
{
	int ret = q->broken;

	if (ret || q->version < 3)
		return ret;
	/* Durable before anything that it stands for. */
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
	/* The refcounts first: without the bit they are trusted. */
	ret = qcow2_co_write_refcounts(q) ?: image_co_flush(q->file);
	qcow2_refcounts_synced(q, ret == 0);
	ret = ret
		      ?: qcow2_co_write_incompatible(q, q->incompatible_features &
								~QCOW2_INCOMPAT_DIRTY);
	/* C6: the bit stays as long as anything relies on it. */
	if (ret)
		qcow2_co_settle_header(q);
	else
		q->dirty_users--;
	return ret;
}

/* ---- lazy refcounts ---- */

/*
 * With lazy refcounts the bit is set before this open writes its first L1 or L2 entry, and stays
 * until close. Meanwhile flushes write no refcounts: the next open keeps C1 and C4 by counting.
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
	/* Without the bit, clusters were only given up, and no flush has written that. */
	ret = q->lazy_dirty ? qcow2_co_clear_dirty(q) : qcow2_co_write_refcounts(q);
	if (!ret)
		q->lazy_dirty = false;
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}
