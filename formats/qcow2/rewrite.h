/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes several tables atomically, for operations on the whole image (snapshots).
 *
 * The header's first sector names the L1 table, the refcount table and the snapshot table. So
 * everything that changes is written to free clusters, including the refcounts, and one write of
 * that sector puts all of it in force. A power cut before that write leaves the image in the old
 * state, one after it in the new state; both are consistent, and nothing leaks. Until that write
 * nothing that the image uses is touched, so an error is undone by forgetting what was done (C6).
 *
 * Without this, refcounts and the "copied" flags of L1 and L2 entries would have to change in two
 * steps, and in either order a check in between would find errors.
 *
 * The price: all refcount blocks are written again, 2 bytes per cluster of the file, and so is each
 * L2 table in which a flag changes.
 */
#ifndef UBD_QCOW2_REWRITE_H
#define UBD_QCOW2_REWRITE_H

#include "qcow2.h"

/* A refcount block in its new state. */
struct rewrite_block {
	uint8_t *counts;   /* as on disk; NULL: none */
	uint8_t *was_used; /* one bit per cluster: in use until the header is written */
};

struct rewrite {
	struct rewrite_block *blocks;
	uint64_t nr_blocks;
	uint64_t free_hint;	  /* no cluster below may be allocated */
	uint64_t memory;	  /* memory that was counted */
	GArray *tables;		  /* struct table_change, for the overlap check */
	struct qcow2_roots roots; /* the new content of the header */
	uint64_t *l1;		  /* host order; NULL: the L1 table stays */
	bool punch;		  /* freed clusters are punched out of the file */
};

/*
 * Everything runs with struct_lock held for writing, with nothing in flight and everything flushed
 * and reclaimed, so the file matches memory. 0 or -errno; -EUCLEAN: the image contradicts itself;
 * -EFBIG: it needs more memory than allowed, as @err says. Always call qcow2_rewrite_end().
 */
int qcow2_rewrite_co_begin(struct qcow2 *q, struct rewrite *rw, GError **err)
	REQUIRES(q->alloc_lock);
void qcow2_rewrite_end(struct qcow2 *q, struct rewrite *rw);

uint64_t qcow2_rewrite_refcount(const struct qcow2 *q, const struct rewrite *rw, uint64_t cluster);

/* Adds (@delta 1) or drops (-1) one reference on each cluster. -EOVERFLOW: it cannot be counted. */
int qcow2_rewrite_count(const struct qcow2 *q, struct rewrite *rw, uint64_t first_cluster,
			uint64_t nr, int delta);

/*
 * Allocates contiguous clusters that are in use neither before nor after; their refcounts become
 * one.
 */
int qcow2_rewrite_alloc(struct qcow2 *q, struct rewrite *rw, uint64_t nr, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock);

/* Notes a table that is added (@delta 1) or removed (-1), for the overlap check. */
void qcow2_rewrite_note_table(struct rewrite *rw, enum metadata_kind kind, uint64_t first_cluster,
			      uint64_t nr, int delta);
void qcow2_rewrite_note_l2(struct rewrite *rw, uint64_t cluster, int delta);

/*
 * Writes the refcounts, then the header, and adopts all of it in memory: L1 and refcount table,
 * disk size, place of the snapshot table. Slices of L2 tables are forgotten.
 */
int qcow2_rewrite_co_commit(struct qcow2 *q, struct rewrite *rw)
	REQUIRES(q->struct_lock, q->flush_lock, q->alloc_lock);

#endif
