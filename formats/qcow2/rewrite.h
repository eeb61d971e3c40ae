/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several tables changed as one, for what concerns the whole image (snapshots).
 *
 * The header's first sector names the L1 table, the refcount table and the snapshot
 * table. So whatever is to change is written to clusters that are free, the
 * refcounts themselves included, and one write of that sector puts it all in
 * place. A power cut before it leaves the image as it was, one behind it as it
 * is to be; both are consistent, and nothing leaks. Until that write nothing that
 * the image uses is touched, so an error is undone by forgetting what was done (C6).
 *
 * Without this, refcounts and the "copied" flags of L1 and L2 entries would have
 * to change in two steps, and between them a check finds errors in either order.
 *
 * The price: refcount blocks are written anew, 2 bytes for each cluster of the
 * file, and so is each L2 table in which a flag changes.
 */
#ifndef UBD_QCOW2_REWRITE_H
#define UBD_QCOW2_REWRITE_H

#include "qcow2.h"

/* A refcount block as it is to be. */
struct rewrite_block {
	uint8_t *counts;   /* as on disk; NULL: there is none */
	uint8_t *was_used; /* a bit per cluster: in use until the header is written */
};

struct rewrite {
	struct rewrite_block *blocks;
	uint64_t nr_blocks;
	uint64_t free_hint;	  /* no cluster below may be taken */
	uint64_t memory;	  /* that was taken */
	GArray *tables;		  /* struct table_change, for the overlap check */
	struct qcow2_roots roots; /* what the header is to say */
	uint64_t *l1;		  /* host order; NULL: the L1 table stays */
};

/*
 * All of it under struct_lock for writing, with nothing in flight and everything
 * flushed and given back: the file has what is in memory. Errors: 0 or -errno;
 * -EUCLEAN: what the image says contradicts itself; -EFBIG: it needs more memory than is
 * allowed, as @err says. rewrite_end() is always due.
 */
int rewrite_co_begin(struct qcow2 *q, struct rewrite *rw, GError **err) REQUIRES(q->alloc_lock);
void rewrite_end(struct qcow2 *q, struct rewrite *rw);

uint64_t rewrite_refcount(const struct qcow2 *q, const struct rewrite *rw, uint64_t cluster);

/* One reference more (@delta 1) or less (-1) on each cluster. -EOVERFLOW: it cannot be counted. */
int rewrite_count(const struct qcow2 *q, struct rewrite *rw, uint64_t first_cluster, uint64_t nr,
		  int delta);

/* Contiguous clusters, neither in use before nor after; their refcounts become one. */
int rewrite_alloc(struct qcow2 *q, struct rewrite *rw, uint64_t nr, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock);

/* A table that there will be (@delta 1) or that is gone (-1), for the overlap check. */
void rewrite_note_table(struct rewrite *rw, enum metadata_kind kind, uint64_t first_cluster,
			uint64_t nr, int delta);
void rewrite_note_l2(struct rewrite *rw, uint64_t cluster, int delta);

/*
 * Writes the refcounts, then the header, and takes it all over in memory: L1 and
 * refcount table, disk size, where the snapshot table lies. Slices of L2 tables are
 * forgotten, and with q->unmap freed clusters are punched out of the file.
 */
int rewrite_co_commit(struct qcow2 *q, struct rewrite *rw)
	REQUIRES(q->struct_lock, q->flush_lock, q->alloc_lock);

#endif
