/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair: what the files check*.c share.
 *
 * The references to every host cluster are counted from all tables of the file and compared with
 * the refcounts. Everything works on the file, never on what an open image has in memory; nobody
 * writes meanwhile.
 *
 * First, check_clean.c finds out whether there is anything to report but plain leaks; that takes a
 * bit per host cluster (32 MiB for 16 TiB of clusters of 64 KiB) and a few tables.
 *
 * Memory of the full check: counts are kept for a window of host clusters, two bits each, or 8 or
 * 32 if one of them needs more: at most 128 MiB, which is enough for 32, 8 or 2 TiB of clusters of
 * 64 KiB. If the file has more clusters, all tables are walked again for each window in which
 * something is used or counted. In addition, there are one L2 table, one refcount block, a part of
 * an L1 table and the refcount table (8 MiB, and as much again if it is rebuilt).
 */
#ifndef UBD_QCOW2_CHECK_H
#define UBD_QCOW2_CHECK_H

#include "qcow2.h"

/* The most memory for counts: a power of two. A window of the widest ones, 2^25 clusters, is larger
 * than what any refcount block covers. */
#define CHECK_COUNT_BYTES (128u << 20)
/* Used clusters in windows beyond this number are not checked. */
#define CHECK_MAX_WINDOWS 4096

enum check_walk {
	CHECK_COUNT,		  /* count all references into the window */
	CHECK_COUNT_WITHOUT_REFS, /* except those from the refcount structure */
	CHECK_COPIED,		  /* compare the copied flags of the active tables with refcounts */
	CHECK_PROVE,		  /* both at once, without a window; check_clean.c */
};

/* Tables that are read at the same time. */
#define CHECK_READ_AHEAD 16

/* Host clusters of a table over which a repair must not write an L2 table. */
struct check_range {
	uint64_t first;
	uint64_t nr;
};

struct check {
	struct qcow2 *q;
	const struct image_check_opts *opts;
	struct image_check_result *result;
	uint64_t nr_clusters;		      /* host clusters in the file */
	uint8_t *l2_table;		      /* the current one, in the memory of `ahead` */
	uint64_t entries_done, entries_total; /* of L1, for progress */

	/* The window. */
	uint64_t window_start;
	uint64_t window_clusters;
	struct {
		void *room;
		uint64_t limit; /* CHECK_COUNT_BYTES; less in tests */
		unsigned bits;	/* of a count */
	} counts;		/* check_window.c */
	bool filled;		/* by a walk of kind filled_walk */
	enum check_walk filled_walk;
	uint64_t *refcount_one; /* bits, for CHECK_COPIED and CHECK_PROVE */
	uint64_t next_used;	/* the lowest referenced cluster beyond the window */
	uint64_t used_end;	/* end of the highest referenced cluster of all */

	/* check_read.c: tables that have been read. */
	struct {
		uint8_t *room; /* for max tables */
		unsigned max, nr, next;
		uint64_t offs[CHECK_READ_AHEAD];
		int results[CHECK_READ_AHEAD];
	} ahead;

	/* CHECK_PROVE: sums modulo a prime; see check_proof.c. */
	struct {
		uint64_t key[2];
		uint64_t stored, counted;
		uint64_t used_end; /* of the highest cluster with a refcount */
		bool failed;	   /* there is something to report */
	} proof;

	/* This walk. */
	enum check_walk walk;
	bool quiet;		     /* errors in tables have been reported before */
	bool table_changed;	     /* l2_table must be written */
	int table_fixable;	     /* whether it may be written; -1: not known yet */
	struct check_range l1_range; /* place of the L1 table */
	int l1_fixable;		     /* whether it may be written; -1: not known yet */
	uint64_t table_off;
	uint64_t table_guest_off; /* of its first entry */
	uint64_t next_host_off;	  /* where unfragmented data would continue */

	/* Found. */
	bool rebuild;		/* refcounts cannot be corrected in place */
	bool unreadable_table;	/* apparent leaks may belong to it */
	uint64_t refs_wrong;	/* corruptions that a repair of refcounts fixes ... */
	uint64_t refs_too_high; /* ... except these: references beyond the largest refcount */
	uint64_t leaks;

	/* check_refs.c */
	uint64_t reftable_off;
	uint64_t reftable_size;
	uint64_t *reftable;    /* host order; 0 if the entry is invalid */
	bool *block_counted;   /* entries that name exactly one block */
	uint8_t *refblock;     /* the last one loaded */
	uint64_t refblock_off; /* 0: none */
	bool refblock_dirty;
	GArray *fixed;	/* struct check_range */
	GArray *blocks; /* host clusters of all blocks, sorted; built on demand */
};

static inline bool qcow2_check_in_window(const struct check *c, uint64_t cluster)
{
	return cluster >= c->window_start && cluster - c->window_start < c->window_clusters;
}

/* Notes a referenced cluster, and where the next window must begin. True: it is in this window. */
static inline bool qcow2_check_see(struct check *c, uint64_t cluster)
{
	if (cluster >= c->window_start + c->window_clusters)
		c->next_used = MIN(c->next_used, cluster);
	return qcow2_check_in_window(c, cluster);
}

/* ---- check_find.c ---- */

/* Reports one line for people. CHECK_PROVE: notes that there is one. */
void qcow2_check_say(struct check *c, const char *format, ...) G_GNUC_PRINTF(2, 3);

/*
 * Reports and counts a corruption of a table, once. True: repair it now, because @fixable allows it
 * and the caller of the check wants it.
 */
bool qcow2_check_corrupt(struct check *c, bool fixable, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/*
 * Counts one reference on every host cluster of a range. False, after a report: it is outside the
 * file.
 */
bool qcow2_check_count_range(struct check *c, uint64_t host_off, uint64_t bytes);

/* ---- check.c ---- */

/* Calls look(c, arg) for each window, filled by a walk of that kind. */
int qcow2_check_co_each_window(struct check *c, enum check_walk walk,
			       int (*look)(struct check *c, void *arg), void *arg);

/* ---- check_window.c ---- */

int qcow2_check_window_init(struct check *c);
void qcow2_check_window_clear(struct check *c);
/* Where the window that contains a cluster begins. */
uint64_t qcow2_check_window_of(const struct check *c, uint64_t cluster);
/* All counts of the window become 0. */
void qcow2_check_window_reset(struct check *c);
/* A bit per cluster of the window, 0, in place of the counts. */
uint64_t *qcow2_check_window_bits(struct check *c);
/* The references to a cluster of the window, saturating. */
uint32_t qcow2_check_counted(const struct check *c, uint64_t cluster);
/* Counts a reference to a cluster if it is in the window. This may make the window smaller. */
void qcow2_check_count(struct check *c, uint64_t cluster);

/* ---- check_clean.c ---- */

/*
 * Whether nothing is wrong with the image but leaked clusters with a refcount of one and no
 * reference. Reports nothing. If true, call qcow2_check_co_leaks() next.
 */
bool qcow2_check_co_is_nearly_clean(struct check *c);
/* Reports these leaks, and repairs them if the caller of the check wants it. */
int qcow2_check_co_leaks(struct check *c);

/* ---- check_proof.c ---- */

/* Begins a walk of kind CHECK_PROVE. Fails if no proof is possible. */
int qcow2_check_prove_init(struct check *c);
/* Takes the refcounts of a block whose first one is that of cluster @first; in rising order. */
void qcow2_check_prove_block(struct check *c, uint64_t first, const uint8_t *block);
/* Whether the refcount is one, and the cluster has not been referenced so far. */
bool qcow2_check_has_one(const struct check *c, uint64_t cluster);
/* Counts a reference. */
void qcow2_check_prove_reference(struct check *c, uint64_t cluster);
/* The same for a descriptor of the active disk if it is the usual one, and right. */
bool qcow2_check_prove_plain(struct check *c, uint64_t desc);
/* At the end. If true, refcount_one has the bits of the clusters that nothing refers to. */
bool qcow2_check_is_proven(const struct check *c);
void qcow2_check_prove_clear(struct check *c);

/* ---- check_read.c ---- */

int qcow2_check_read_init(struct check *c);
void qcow2_check_read_clear(struct check *c);
/*
 * Reads up to c->ahead.max tables of one cluster each, at the same time. Errors are returned when
 * the table is asked for.
 */
void qcow2_check_co_read_ahead(struct check *c, const uint64_t *offs, unsigned nr);
/*
 * A table that was read ahead, in this order, or else is read now. It is valid until the next call
 * of either.
 */
int qcow2_check_co_read_table(struct check *c, uint64_t off, uint8_t **ret_table);
/* The file is changed: what was read ahead may be out of date. */
void qcow2_check_forget_ahead(struct check *c);

/* ---- check_count.c ---- */

/* Walks the tables; c->walk says what for. */
int qcow2_check_co_walk(struct check *c);

/* ---- check_entry.c ---- */

/* Checks all entries of c->l2_table, and repairs them there. */
int qcow2_check_co_l2_entries(struct check *c, bool active);

/* Whether the copied flag agrees with the refcount. If not, the refcount is looked up. */
int qcow2_check_co_copied(struct check *c, uint64_t entry, bool *ret_right, uint64_t *ret_refcount);

/* ---- check_refs.c ---- */

int qcow2_check_co_load_reftable(struct check *c);
void qcow2_check_refs_clear(struct check *c);
/* Counts the refcount table and its blocks. */
void qcow2_check_count_refs(struct check *c);
int qcow2_check_co_refcount(struct check *c, uint64_t cluster, uint64_t *ret_refcount);
/* Reports errors in the refcounts of the window. For qcow2_check_co_each_window(), like the next
 * one. */
int qcow2_check_co_compare(struct check *c, void *unused);
/* Sets the refcount of a cluster that a block covers; later ones of the same block are written with
 * it. */
int qcow2_check_co_correct(struct check *c, uint64_t cluster, uint64_t refcount, uint32_t counted);
/* Raises the refcounts that are too low, or lowers those that are too high: bool *arg. */
int qcow2_check_co_adjust(struct check *c, void *arg);
/* Fills refcount_one of the window. */
int qcow2_check_co_load_ones(struct check *c);
/* Makes the adjusted refcounts durable. */
int qcow2_check_co_flush_refs(struct check *c);
/* The first cluster at or after @cluster that a refcount block covers; UINT64_MAX: none. */
uint64_t qcow2_check_next_covered(const struct check *c, uint64_t cluster);
/* Whether the cluster contains something that is written in place: never an L2 table. */
bool qcow2_check_is_fixed(struct check *c, uint64_t cluster);
/* Whether a counted table shares no cluster with another one. */
bool qcow2_check_is_alone(struct check *c, const struct check_range *table);

/* ---- check_rebuild.c ---- */

/* Builds a new refcount structure from the counts, and points the header to it. */
int qcow2_check_co_rebuild(struct check *c);

#endif
