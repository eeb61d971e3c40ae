/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of the format of an open image: what the files amend*.c have for each other. */
#ifndef UBD_QCOW2_AMEND_H
#define UBD_QCOW2_AMEND_H

#include "qcow2.h"

struct amend_progress {
	void (*report)(void *arg, uint64_t done, uint64_t total); /* NULL: nobody asks */
	void *arg;
};

static inline void amend_report(const struct amend_progress *progress, uint64_t done,
				uint64_t total)
{
	if (progress->report)
		progress->report(progress->arg, done, total);
}

/*
 * These run under struct_lock for writing, with everything flushed and given back. A cut at
 * any instant leaves an image that holds the same and is consistent.
 */

/* amend_refcounts.c: other widths, from 2 to the power of @order bits. */
int amend_co_refcount_order(struct qcow2 *q, unsigned order, const struct amend_progress *progress,
			    GError **err) REQUIRES(q->struct_lock);

/* amend_zeroes.c: replaces zero flags, which version 2 has not, by what reads the same. */
int amend_co_expand_zeroes(struct qcow2 *q, const struct amend_progress *progress, GError **err)
	REQUIRES(q->struct_lock);

#endif
