/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of the format of an open image: what the files amend*.c share. */
#ifndef UBD_QCOW2_AMEND_H
#define UBD_QCOW2_AMEND_H

#include "qcow2.h"

struct amend_progress {
	void (*report)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	void *arg;
};

static inline void qcow2_amend_report(const struct amend_progress *progress, uint64_t done,
				      uint64_t total)
{
	if (progress->report)
		progress->report(progress->arg, done, total);
}

/*
 * These run with struct_lock held for writing, with everything flushed and reclaimed. A power cut
 * at any instant leaves a consistent image with the same contents.
 */

/* amend_refcounts.c: changes the refcount width to 2 to the power of @order bits. */
int qcow2_amend_co_refcount_order(struct qcow2 *q, unsigned order,
				  const struct amend_progress *progress, GError **err)
	REQUIRES(q->struct_lock);

/*
 * amend_zeroes.c: replaces zero flags, which version 2 does not have, with data that reads the
 * same.
 */
int qcow2_amend_co_expand_zeroes(struct qcow2 *q, const struct amend_progress *progress,
				 GError **err) REQUIRES(q->struct_lock);

/* amend_zeroes.c: refuses images with compressed clusters, also in snapshots. */
int qcow2_amend_co_check_uncompressed(struct qcow2 *q, GError **err) REQUIRES(q->struct_lock);

#endif
