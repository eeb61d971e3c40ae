/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair: what the files check*.c share.
 *
 * The references to every host cluster are counted from all tables of the file and
 * compared with the refcounts. All of it works on the file, never on what an open image has in
 * memory; nobody writes meanwhile.
 *
 * Memory: counts are kept for a window of host clusters, 32 bits each: at most 128 MiB. Where
 * the file has more clusters, all tables are walked again for each window in which
 * something is used or counted. To that come one L2 table, one refcount block, a piece of an
 * L1 table, a bit per cluster of the window (4 MiB) and the refcount table (8 MiB, and
 * as much again where it is made anew).
 */
#ifndef UBD_QCOW2_CHECK_H
#define UBD_QCOW2_CHECK_H

#include "qcow2.h"

/* A power of two, and more than any refcount block covers: 2 TiB of clusters of 64 KiB. */
#define CHECK_WINDOW_CLUSTERS (1ull << 25)
/* Used clusters that are spread over more than so many windows are not looked at. */
#define CHECK_MAX_WINDOWS     4096

enum check_walk {
	CHECK_COUNT,		  /* count all references into the window */
	CHECK_COUNT_WITHOUT_REFS, /* save those of the refcount structure */
	CHECK_COPIED,		  /* compare the copied flags of the active tables with refcounts */
};

/* Host clusters of a table that a repair must not write an L2 table over. */
struct check_range {
	uint64_t first;
	uint64_t nr;
};

struct check {
	struct qcow2 *q;
	const struct image_check_opts *opts;
	struct image_check_result *result;
	uint64_t nr_clusters;		      /* host clusters in the file */
	uint64_t window_max;		      /* CHECK_WINDOW_CLUSTERS; less in tests */
	uint8_t *l2_table;		      /* the one looked at */
	uint64_t entries_done, entries_total; /* of L1, for the progress */

	/* The window. */
	uint64_t window_start;
	uint64_t window_clusters;
	uint32_t *counted; /* references, saturating */
	bool filled;	   /* by a walk of kind filled_walk */
	enum check_walk filled_walk;
	uint64_t *refcount_one; /* bits, for CHECK_COPIED */
	uint64_t next_used;	/* the lowest referenced cluster behind the window */
	uint64_t used_end;	/* behind the highest referenced cluster of all */

	/* This walk. */
	enum check_walk walk;
	bool quiet;		     /* what is wrong with the tables was said before */
	bool table_changed;	     /* l2_table has to be written */
	int table_fixable;	     /* whether l2_table may be: -1 not known yet */
	struct check_range l1_range; /* where the L1 table lies */
	int l1_fixable;		     /* whether it may be written: as table_fixable */
	uint64_t table_off;
	uint64_t table_guest_off; /* of its first entry */
	uint64_t next_host_off;	  /* where the data would go on unfragmented */

	/* Found. */
	bool rebuild;		/* refcounts cannot be put right where they are */
	bool unreadable_table;	/* what looks leaked may belong to it */
	uint64_t refs_wrong;	/* corruptions that a repair of refcounts ends ... */
	uint64_t refs_too_high; /* ... save those: references beyond the largest refcount */
	uint64_t leaks;

	/* check_refs.c */
	uint64_t reftable_off;
	uint64_t reftable_size;
	uint64_t *reftable;    /* host order; 0 where the entry cannot be */
	bool *block_counted;   /* entries that name a block, no more and no less */
	uint8_t *refblock;     /* the one loaded last */
	uint64_t refblock_off; /* 0: none */
	bool refblock_dirty;
	GArray *fixed;	/* struct check_range */
	GArray *blocks; /* host clusters of all blocks, sorted; made when asked for */
};

static inline bool check_in_window(const struct check *c, uint64_t cluster)
{
	return cluster >= c->window_start && cluster - c->window_start < c->window_clusters;
}

/* A referenced cluster: remembers where the next window has to begin. True: it is in this one. */
static inline bool check_see(struct check *c, uint64_t cluster)
{
	if (cluster >= c->window_start + c->window_clusters)
		c->next_used = MIN(c->next_used, cluster);
	return check_in_window(c, cluster);
}

/* ---- check_find.c ---- */

/* One line for people. */
void check_say(const struct check *c, const char *format, ...) G_GNUC_PRINTF(2, 3);

/*
 * A corruption of a table: said and counted, once. True: it is to be repaired now, which
 * is what @fixable allows and the caller of the check wants.
 */
bool check_corrupt(struct check *c, bool fixable, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* One reference on every host cluster of a range. False, and said so: it lies outside the file. */
bool check_count_range(struct check *c, uint64_t host_off, uint64_t bytes);

/* ---- check.c ---- */

/* Calls look(c, arg) for each window, filled by a walk of that kind. */
int check_co_each_window(struct check *c, enum check_walk walk,
			 int (*look)(struct check *c, void *arg), void *arg);

/* ---- check_count.c ---- */

/* Walks the tables as c->walk says. */
int check_co_walk(struct check *c);

/* ---- check_entry.c ---- */

/* Looks at all entries of c->l2_table; those that are repaired are changed there. */
int check_co_l2_entries(struct check *c, bool active);

/* Whether the copied flag says what the refcount says. The refcount is looked up when not. */
int check_co_copied(struct check *c, uint64_t entry, bool *ret_right, uint64_t *ret_refcount);

/* ---- check_refs.c ---- */

int check_co_load_reftable(struct check *c);
void check_refs_clear(struct check *c);
/* Counts the refcount table and its blocks. */
void check_count_refs(struct check *c);
int check_co_refcount(struct check *c, uint64_t cluster, uint64_t *ret_refcount);
/* Says what is wrong with the refcounts of the window. For check_co_each_window(), as the next. */
int check_co_compare(struct check *c, void *unused);
/* Raises the refcounts that are too low, or lowers those that are too high: bool *arg. */
int check_co_adjust(struct check *c, void *arg);
/* Fills refcount_one of the window. */
int check_co_load_ones(struct check *c);
/* What was adjusted is durable afterwards. */
int check_co_flush_refs(struct check *c);
/* The first cluster at or behind @cluster that a refcount block covers; UINT64_MAX: none. */
uint64_t check_next_covered(const struct check *c, uint64_t cluster);
/* Whether something lies in the cluster that is written in place: never an L2 table. */
bool check_is_fixed(struct check *c, uint64_t cluster);
/* Whether a table that was counted shares no cluster with another such thing. */
bool check_is_alone(struct check *c, const struct check_range *table);

/* ---- check_rebuild.c ---- */

/* Makes a new refcount structure of what is counted, and points the header to it. */
int check_co_rebuild(struct check *c);

#endif
