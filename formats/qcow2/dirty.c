// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty bit: while it is set, refcounts and copied flags on disk may be wrong, too
 * low even. Whoever opens the image for writing then counts all references first.
 */
#include "qcow2.h"

int qcow2_co_set_dirty(struct qcow2 *q)
{
	int ret = q->broken;

	if (ret || q->version < 3)
		return ret;
	/* Durable before whatever it stands for. */
	if (!q->dirty_users)
		ret = qcow2_co_write_incompatible(q,
						  q->incompatible_features | QCOW2_INCOMPAT_DIRTY);
	if (!ret)
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
	if (!ret)
		q->dirty_users--;
	return ret;
}
