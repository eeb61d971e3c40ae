/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: the state of an open image, and who may touch it.
 *
 * Locks, in taking order
 *
 *   struct_lock   co_rwlock    every request reads; snapshots, bitmaps, resize and close write
 *   bitmap_lock   co_mutex     marking bitmaps as in use, at the first change
 *   a pin         slice.pins   an L2 slice in use stays in memory
 *   reclaim_lock  co_mutex     one reclaimer of freed clusters at a time
 *   flush_lock    co_mutex     one write-back at a time
 *   alloc_lock    co_mutex     refcounts, plans, stores to L1 and L2 entries;
 *                              held across metadata I/O, never guest data
 *   packing_lock  thread_lock  whose turn it is to place compressed data
 *   shard lock    thread_lock  pin, load and eviction in one cache shard; lookups by readers
 *                              take none
 *   summaries.lock thread_lock memory for summaries of slices; lookups take none
 *
 * A slice is pinned before alloc_lock is taken, never under it: pinning may wait for another
 * coroutine to unpin, which may need alloc_lock to get there.
 *
 * An L1 or L2 entry is one 64-bit word. It is stored with release ordering under alloc_lock and
 * loaded with acquire ordering without any lock; a reader that sees a new mapping sees a cluster
 * whose data was written before. An extended L2 entry has two words: the slice counts its stores,
 * and a reader checks the count before and after.
 *
 * Order on disk: the rules C1 to C7 are in docs/design.md. How they are kept:
 *
 *   refcount slices   In memory a refcount is never below the number of
 *                     pointers that are on disk or may get there. So they may be
 *                     written at any time (C1, C4).
 *   L2 slices, L1     Written by flush.c only: a copy is made under alloc_lock,
 *                     then all refcounts are written, then the file is flushed, and
 *                     only then is the copy written (C1, C2, C3).
 *   freed clusters    Keep their refcount until the flush that removed the last
 *                     pointer is complete and all requests that began before have
 *                     ended (C4, C5); reclaim.c.
 */
#ifndef UBD_QCOW2_H
#define UBD_QCOW2_H

#include <endian.h>
#include <errno.h>
#include <stdatomic.h>

#include "align.h"
#include "header_layout.h"
#include "image_event.h"
#include "layout.h"
#include "subcluster.h"

struct slice;
struct shard;
struct summary_table;
struct summary_chunk;

/* ---- the L2 slice cache: cache.c ---- */

/*
 * A part of an L2 table in memory. Readers load from the first cache line without a lock, as `gen`
 * allows; see qcow2_slice_try_peek(). What writers change at each use is in the second one.
 */
struct slice {
	/* Even: free, or being loaded. Raised under the shard lock. */
	_Alignas(64) _Atomic uint64_t gen;
	_Atomic uint64_t host_off;	 /* its place in the file; 0: free; shard lock to set */
	_Atomic uint64_t *entries;	 /* as on disk: big-endian */
	struct slice *_Atomic hash_next; /* shard lock to set */
	struct shard *shard;		 /* constant once used */
	_Atomic bool referenced;	 /* used since the clock's hand passed */

	_Alignas(64) _Atomic unsigned seq; /* extended L2 entries: odd while one is stored;
					      alloc_lock */
	_Atomic unsigned pins;		   /* raised under the shard lock */
	_Atomic bool dirty;		   /* set with a pin and alloc_lock, cleared by flush.c */
	_Atomic uint64_t changed;	   /* q->changes at the last store; alloc_lock to set */
	bool loading;			   /* shard lock: entries are not loaded yet */
	_Atomic uint64_t *summary;	   /* NULL: it has none; constant once loaded */
	struct slice *dirty_next;	   /* alloc_lock: q->dirty_slices */
};

struct shard {
	/* Constant while open. */
	_Alignas(64) struct slice *slices;
	struct slice *_Atomic *hash; /* heads: lock to set */
	unsigned nr_slices;
	unsigned hash_mask;
	_Alignas(64) struct thread_lock lock;
	unsigned hand; /* lock */
	uint64_t hits GUARDED_BY(lock), misses GUARDED_BY(lock);
	/* Waiters for a load, or for a slot to become free. */
	struct co_queue waiters;
	_Atomic unsigned nr_waiters;
};

#define QCOW2_MAX_SHARDS		   16
#define QCOW2_DEFAULT_REFCOUNT_CACHE_BYTES (256u << 10)

/* Slices of which one word tells all entries; summary.c. */
struct summaries {
	/* Constant while open. */
	unsigned max_tables; /* 0: there are none */
	unsigned hash_bits;
	/* Heads: lock to set. NULL: none so far; struct_lock for writing to free. */
	struct summary_table *_Atomic *_Atomic hash;
	struct thread_lock lock;
	struct summary_chunk *chunks GUARDED_BY(lock);
	unsigned nr_tables GUARDED_BY(lock);
};

struct l2_cache {
	struct shard shards[QCOW2_MAX_SHARDS];
	void *slots;	    /* the memory of all slices and hashes */
	unsigned nr_shards; /* a power of two, as is slice_bytes */
	uint32_t slice_bytes;
	unsigned nr_slices;
	/*
	 * Memory of slices, given to slots when they are first used, in blocks: of huge pages,
	 * except for the first one.
	 */
	struct thread_lock blocks_lock;
	void **blocks GUARDED_BY(blocks_lock); /* NULL: not needed so far */
	unsigned nr_given GUARDED_BY(blocks_lock);
	struct summaries summaries;
	uint64_t summary_bytes; /* what they may take of the cache's memory */
};

/* ---- requests in flight and freed clusters: reclaim.c ---- */

struct epoch_slot {
	_Alignas(64) _Atomic uint64_t active[2]; /* requests of even and odd epochs */
	_Atomic uint64_t cache_hits;		 /* without a lock; cache.c */
};

/* A run of host clusters that have each lost the same number of references. */
struct freed_run {
	uint64_t cluster; /* host cluster index */
	uint64_t nr_clusters;
	uint64_t references;
	bool is_l2; /* L2 tables that the active L1 table no longer names */
};

/* A set of runs; freed.c. */
struct freed_runs {
	GArray *runs;	 /* struct freed_run */
	guint nr_merged; /* runs left by the last merge */
};

void qcow2_freed_runs_init(struct freed_runs *set);
void qcow2_freed_runs_destroy(struct freed_runs *set);
void qcow2_freed_runs_clear(struct freed_runs *set);
void qcow2_freed_runs_add(struct freed_runs *set, const struct freed_run *run);
/* Moves everything from @from, which is empty afterwards. */
void qcow2_freed_runs_move(struct freed_runs *to, struct freed_runs *from);
/* Sorts the runs, L2 tables last, and makes them disjoint and as few as possible. */
void qcow2_freed_runs_merge(struct freed_runs *set);

/* With more runs (2 MiB) in memory, requests that free clusters wait for the reclaimer. */
#define QCOW2_MAX_FREED_RUNS 65536u

/* ---- writes that allocate: write.c ---- */

/*
 * A plan covers guest clusters that are being filled: until it ends, only the plan's owner changes
 * their entries.
 */
struct plan {
	uint64_t first_cluster; /* guest cluster index */
	uint64_t nr_clusters;
	struct plan *next, **prev;
};

/* ---- refcounts: refcount.c ---- */

struct refcount_slice {
	uint64_t host_off; /* 0: the slot is free */
	uint8_t *data;
	bool dirty;    /* differs from the file */
	bool unsynced; /* written, but the file has not been flushed since */
	bool referenced;
};

struct qcow2 {
	struct image *img;
	struct image *file;
	struct image *data_file; /* holds guest clusters: `file`, or an external data file */

	uint32_t magic; /* QCOW2_MAGIC, or _UNFINISHED until qcow2_co_finish(), under alloc_lock */

	/* ---- constant while open ---- */
	uint32_t version;
	unsigned cluster_bits;
	uint32_t cluster_size;
	bool extended_l2;
	char *data_filename;	  /* as written in the image; NULL if none */
	bool data_file_raw;	  /* the data file alone reads like the disk */
	unsigned subcluster_bits; /* log2 of its bytes; cluster_bits without extended L2 */
	unsigned l2_bits;	  /* log2 of entries in an L2 table */
	unsigned slice_bits;	  /* log2 of entries in a slice */
	unsigned refcount_order;
	unsigned refblock_bits; /* log2 of entries in a refcount block */
	/* Bits DIRTY and CORRUPT change, under alloc_lock. */
	_Atomic uint64_t incompatible_features;
	uint64_t compatible_features;
	uint64_t autoclear_features;
	uint8_t compression_type;
	uint32_t crypt_method; /* IMAGE_INFO_ONLY: 0 is none */
	/* The header's bitmaps extension, host order; see bitmap.h. struct_lock to change. */
	struct bitmaps_extension {
		bool present;
		uint32_t bytes;
		uint32_t nr;
		uint32_t reserved;
		uint64_t directory_bytes;
		uint64_t directory_off;
	} bitmaps_ext;
	bool reftable_bad;    /* read-only: the header's refcount table is impossible */
	bool unmap;	      /* freed clusters are punched out of the file */
	bool unmap_snapshots; /* those that a snapshot gives up, too */
	enum {
		QCOW2_LAZY_AS_STORED, /* as the header says */
		QCOW2_LAZY_ON,
		QCOW2_LAZY_OFF,
	} lazy_wanted;
	/* Wanted sizes; 0: the defaults. */
	uint64_t cache_bytes;
	uint64_t refcount_cache_bytes;

	struct co_rwlock struct_lock;
	uint32_t l1_size; /* struct_lock */
	uint64_t l1_off;  /* struct_lock */
	/*
	 * Host order. Entries: alloc_lock to store, no lock to load. NULL: the table is long and
	 * only read, through the cache; mapping.c.
	 */
	_Atomic uint64_t *l1;
	uint32_t nr_snapshots;	/* struct_lock */
	uint64_t snapshots_off; /* struct_lock */
	GPtrArray *snapshots;	/* struct_lock; of struct snapshot */

	/* Persistent bitmaps of a writable image; see bitmap.h. */
	GPtrArray *bitmaps GUARDED_BY(struct_lock);   /* struct bitmap; NULL: read-only */
	bool bitmaps_tracked GUARDED_BY(struct_lock); /* one of them tracks changes */
	struct co_mutex bitmap_lock;
	_Atomic bool bitmaps_marked; /* bitmap_lock to set: the tracked ones are IN_USE on disk */
	bool bitmaps_touched GUARDED_BY(bitmap_lock); /* some of them may be */

	struct l2_cache cache;

	struct co_mutex alloc_lock;
	uint64_t *reftable GUARDED_BY(alloc_lock);     /* host order */
	uint64_t reftable_size GUARDED_BY(alloc_lock); /* entries */
	uint64_t reftable_off GUARDED_BY(alloc_lock);
	uint8_t *reftable_state GUARDED_BY(alloc_lock); /* per unit: REFTABLE_UNIT_* */
	/*
	 * Indices of blocks that may not be on disk yet, in the order in which they were made: the
	 * table on disk does not name them (C3).
	 */
	GArray *new_blocks GUARDED_BY(alloc_lock);   /* uint64_t */
	uint64_t blocks_made GUARDED_BY(alloc_lock); /* so far; the last ones are in new_blocks */
	/* Parts of the header that have no field here are kept as they were found. */
	uint32_t header_length; /* constant; 0 if it was opened as version 2 */
	GBytes *unknown_fields; /* constant; NULL if none */
	/* All except the backing format, which is in img, feature names and padding. */
	GPtrArray *extensions GUARDED_BY(alloc_lock); /* struct header_extension */
	/*
	 * The header on disk may be the one in memory, or another that was to follow it: nothing is
	 * changed, not even guest data, until this is settled. alloc_lock to set.
	 */
	_Atomic bool header_unsettled;
	/* Set when the image is corrupt: no more metadata is written. */
	int broken GUARDED_BY(alloc_lock);
	unsigned dirty_users GUARDED_BY(alloc_lock); /* qcow2_co_set_dirty() not yet cleared */
	bool lazy_dirty GUARDED_BY(alloc_lock);	     /* one of them is for lazy refcounts */
	struct refcount_slice *refcount_slices GUARDED_BY(alloc_lock);
	unsigned nr_refcount_slices;
	uint32_t refcount_slice_bytes;
	unsigned refcount_hand GUARDED_BY(alloc_lock);
	uint64_t free_hint GUARDED_BY(alloc_lock); /* no free cluster below */
	/* Clusters that were taken and given back since the image was opened; alloc_lock to raise.
	 */
	_Atomic uint64_t nr_taken, nr_given_back;
	/* The file was never written from here on: it reads as zeroes. */
	uint64_t zero_off GUARDED_BY(alloc_lock);
	/* Host clusters whose refcounts were raised ahead of need; reserve.c. */
	struct reserve {
		uint64_t start, end;
		uint64_t durable_end; /* of those that are ready to be named */
		uint64_t taken;	      /* nr_taken at the last flush */
	} reserve GUARDED_BY(alloc_lock);
	bool may_reserve GUARDED_BY(alloc_lock);
	/* An entry was stored that must not reach disk before something else does: C1, C2, C3. */
	bool keep_order GUARDED_BY(alloc_lock);
	/*
	 * The end of the compressed data that was placed last, in a host cluster with room and a
	 * refcount above zero; 0: no such cluster.
	 */
	uint64_t byte_tail GUARDED_BY(alloc_lock);
	/* Compressed writes get their room in the order of their tickets; write_compressed.c. */
	struct thread_lock packing_lock;
	struct co_queue packing_turn_changed GUARDED_BY(packing_lock);
	uint64_t next_packing GUARDED_BY(packing_lock);
	uint64_t packing_turn GUARDED_BY(packing_lock);
	struct plan *plans GUARDED_BY(alloc_lock);
	struct co_queue plan_ended GUARDED_BY(alloc_lock);
	struct slice *dirty_slices GUARDED_BY(alloc_lock);
	GArray *dirty_l1 GUARDED_BY(alloc_lock); /* uint32_t: L1 indices */
	/* Freed clusters, by stage; see reclaim.c. */
	struct freed_runs unlinked GUARDED_BY(alloc_lock); /* pointer gone in memory */
	struct freed_runs freed[2] GUARDED_BY(alloc_lock); /* gone from disk; by parity of epoch */
	struct freed_runs reclaimable GUARDED_BY(alloc_lock); /* and no request can see it */
	_Atomic uint64_t nr_unlinked; /* clusters in unlinked; alloc_lock to set */
	_Atomic bool freed_waits;     /* freed may not be empty; alloc_lock to set */
	_Atomic bool freed_full;      /* max_freed_runs is reached; alloc_lock to set */
	unsigned max_freed_runs;      /* constant */
	struct co_standby reclaimer;
	struct co_queue reclaimed GUARDED_BY(alloc_lock); /* waiters for room */
	uint64_t times_room_made GUARDED_BY(alloc_lock);
	struct co_mutex reclaim_lock;
	/*
	 * Host cluster numbers of live metadata: nothing else is written there. The value for an L2
	 * table is the number of L1 tables that name it; 0 for everything else.
	 */
	GHashTable *metadata GUARDED_BY(alloc_lock);
	guint metadata_counted GUARDED_BY(alloc_lock); /* elements whose memory is counted */
	/*
	 * The same as a hash filter, without a lock: a clear bit means no. Bits are only ever set.
	 */
	_Atomic uint64_t *metadata_filter;
	/*
	 * Stores to L1 and L2 entries so far, and how many of them are in the file. Counted before
	 * the store: a reader that sees a mapping also sees that it has been counted.
	 */
	_Atomic uint64_t changes;	  /* alloc_lock to raise */
	_Atomic uint64_t changes_written; /* flush_lock to set */

	struct co_mutex flush_lock;
	uint64_t *l1_disk GUARDED_BY(flush_lock); /* big-endian: what may be on disk */
	/* Flushes are numbered in the order in which they start; see qcow2_co_flush_all(). */
	_Atomic uint64_t flush_started;
	uint64_t flush_done GUARDED_BY(flush_lock);
	int flush_result GUARDED_BY(flush_lock);

	_Atomic uint64_t epoch; /* alloc_lock to raise */
	struct epoch_slot epoch_slots[AIO_MAX_LOOPS];
};

/* ---- small helpers ---- */

/* For a writable L1 table: in both byte orders. */
static inline uint64_t qcow2_l1_memory(uint32_t l1_size)
{
	return MAX(l1_size, 1) * 2 * sizeof(uint64_t);
}

/*
 * The first entry of a table from @index on that is not zero, or @nr. Fast where most are: an L1
 * table may have a million of them.
 */
uint32_t qcow2_next_entry(const uint64_t *table, uint32_t index, uint32_t nr);

static inline uint64_t qcow2_cluster_index(const struct qcow2 *q, uint64_t off)
{
	return off >> q->cluster_bits;
}

static inline uint64_t qcow2_in_cluster(const struct qcow2 *q, uint64_t off)
{
	return off & (q->cluster_size - 1);
}

static inline uint64_t qcow2_cluster_start(const struct qcow2 *q, uint64_t off)
{
	return align_down(off, q->cluster_size);
}

static inline uint64_t qcow2_clusters_for(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + (qcow2_in_cluster(q, bytes) != 0);
}

static inline uint32_t qcow2_l1_index(const struct qcow2 *q, uint64_t guest_off)
{
	return guest_off >> (q->cluster_bits + q->l2_bits);
}

static inline uint64_t qcow2_l2_index(const struct qcow2 *q, uint64_t guest_off)
{
	return (guest_off >> q->cluster_bits) & ((1ull << q->l2_bits) - 1);
}

/* The number of 64-bit words in an L2 entry. */
static inline unsigned qcow2_l2_stride(const struct qcow2 *q)
{
	return q->cluster_size / sizeof(uint64_t) >> q->l2_bits;
}

static inline uint32_t qcow2_slice_index(const struct qcow2 *q, uint64_t guest_off)
{
	return (guest_off >> q->cluster_bits) & ((1ull << q->slice_bits) - 1);
}

static inline unsigned qcow2_subcluster_index(const struct qcow2 *q, uint64_t off)
{
	return qcow2_in_cluster(q, off) >> q->subcluster_bits;
}

static inline bool qcow2_has_data_file(const struct qcow2 *q)
{
	return q->data_file != q->file;
}

/* An entry of an L2 table as it was read from the file. */
static inline struct l2_entry qcow2_l2_table_entry(const struct qcow2 *q, const uint64_t *table,
						   uint64_t index)
{
	if (!q->extended_l2)
		return (struct l2_entry){ be64toh(table[index]), 0 };
	return (struct l2_entry){ be64toh(table[2 * index]), be64toh(table[2 * index + 1]) };
}

/* ---- refuse.c ---- */

/* error_refuse() with the image's name before the message. */
int qcow2_refuse(const struct qcow2 *q, GError **err, int ret, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

/* Like image_memory_take(), with an error that names the image. */
int qcow2_take_memory(const struct qcow2 *q, uint64_t bytes, const char *what, GError **err);

/* ---- header_read.c ---- */

/*
 * Reads and checks the header and its extensions, and fills in the constant part of @q, img->size,
 * backing_filename and backing_format. Leaves the rest of @q alone.
 */
int qcow2_co_read_header(struct qcow2 *q, const struct image_open_opts *opts, GError **err);

/* How much of an L2 table is read at once: a power of two, up to a cluster. */
void qcow2_set_slice_bytes(struct qcow2 *q, uint32_t bytes);

/*
 * Whether a table extends into clusters beyond the end of the file, where everything reads as
 * zeroes.
 */
bool qcow2_is_behind_end(const struct qcow2 *q, uint64_t off, uint64_t bytes);

/* Refuses images that a writer must not touch: dirty, corrupt, bitmaps. */
int qcow2_check_writable(struct qcow2 *q, GError **err);

/* ---- header_write.c ---- */

/*
 * Writes the header from @q: all fields and extensions, and the backing file's name and format from
 * q->img. Everything that was written to the file before is durable before the new header is (C3),
 * and the header is durable on return.
 *
 * A power cut at any instant leaves the old or the new header. On -ENOSPC or -ENOTSUP nothing was
 * written, and @err names what does not fit. After any error, the caller resets @q's fields and
 * calls qcow2_co_settle_header().
 */
int qcow2_co_update_header(struct qcow2 *q, GError **err) REQUIRES(q->alloc_lock);

/*
 * C6: a header whose write failed may be on disk nevertheless. Then, after a power cut, what was
 * done to the image while the old header was in force in memory would be lost, or visible where it
 * must not be. So the header that @q's fields describe is written again: at once, with the locks
 * still held under which the other write failed, and, as long as that fails too, before each change
 * and each flush. 0: it is durably on disk; until then the caller keeps whatever either header
 * names.
 */
int qcow2_co_settle_header(struct qcow2 *q) REQUIRES(q->alloc_lock);

/* Sets an extension, or removes it with NULL; the next update writes it. */
void qcow2_set_extension(struct qcow2 *q, uint32_t type, const void *data, uint32_t bytes)
	REQUIRES(q->alloc_lock);

/* Clears the autoclear bits of features that we do not maintain, before the first write. */
int qcow2_co_clear_autoclear(struct qcow2 *q);

/* For format_ops: flushes what was written before the header says that this is an image. */
int qcow2_co_finish(struct image *img);

/* Sets the corrupt bit, if the version has one. */
int qcow2_co_set_corrupt_bit(struct qcow2 *q) REQUIRES(q->alloc_lock);

/* Writes the incompatible feature bits (one sector) and flushes the file. Version 3. */
int qcow2_co_write_incompatible(struct qcow2 *q, uint64_t features) REQUIRES(q->alloc_lock);

/* Points the header at another refcount table (one sector, one write). */
int qcow2_co_write_reftable_pointer(struct qcow2 *q, uint64_t reftable_off, uint32_t clusters)
	REQUIRES(q->alloc_lock);

/* What the header says about the disk and the place of the tables, all in its first sector. */
struct qcow2_roots {
	uint64_t size;
	uint32_t l1_size;
	uint64_t l1_off;
	uint64_t reftable_off;
	uint32_t reftable_clusters;
	uint32_t nr_snapshots;
	uint64_t snapshots_off;
};

void qcow2_get_roots(const struct qcow2 *q, struct qcow2_roots *roots) REQUIRES(q->alloc_lock);

/* Writes them to the header (one sector, one write). */
int qcow2_co_write_roots(struct qcow2 *q, const struct qcow2_roots *roots) REQUIRES(q->alloc_lock);

/* ---- dirty.c ---- */

/*
 * The dirty bit, around a change during which refcounts or copied flags on disk may be wrong, so
 * that a power cut in the middle would leave an image that a check calls corrupt:
 *
 *  *	ret = qcow2_co_set_dirty(q);	durable on disk when it returns 0
 *  *	...the change, in any number of steps, the lock may be dropped...
 *  *	if (all of it is on disk)
 *  *		ret = qcow2_co_clear_dirty(q);
 *
 * The next open for writing then counts all references, corrects refcounts and copied flags, and
 * clears the bit. Only these two can be repaired that way: L1 and L2 tables, the snapshot table and
 * everything else must be intact at each instant (C2, C3).
 *
 * Each successful set is followed by one clear, or by none if the change failed halfway: then the
 * bit stays for the next open. They nest: the last clear counts. Clear writes all refcounts and
 * flushes the file first; the caller has flushed L2 slices and L1 entries before
 * (qcow2_co_flush_all(), not under alloc_lock).
 *
 * Version 2 does not have this bit: both return 0 and do nothing.
 */
int qcow2_co_set_dirty(struct qcow2 *q) REQUIRES(q->alloc_lock);
int qcow2_co_clear_dirty(struct qcow2 *q) REQUIRES(q->alloc_lock);

/* Called before a flush without refcounts writes L1 or L2 entries, and at close. */
int qcow2_co_be_lazy(struct qcow2 *q) REQUIRES(q->alloc_lock);
int qcow2_co_end_lazy(struct qcow2 *q) EXCLUDES(q->alloc_lock);

static inline bool qcow2_is_lazy(const struct qcow2 *q)
{
	if (q->version < 3 || q->lazy_wanted == QCOW2_LAZY_OFF)
		return false;
	return q->lazy_wanted == QCOW2_LAZY_ON ||
	       q->compatible_features & QCOW2_COMPAT_LAZY_REFCOUNTS;
}

/* ---- repair.c ---- */

/*
 * Repairs an image with the dirty bit before it is written, and tells the user. The refcount table
 * may be a different one afterwards. -EROFS: errors are left.
 */
int qcow2_co_repair_dirty(struct qcow2 *q, const struct image_open_opts *opts, GError **err);

/* ---- cache.c ---- */

/* @bytes: for all slices together; at least two slices are allocated. -ENOMEM, -EFBIG. */
int qcow2_l2_cache_init(struct qcow2 *q, uint64_t bytes, GError **err);
void qcow2_l2_cache_destroy(struct qcow2 *q);
/* Any thread. */
void qcow2_l2_cache_add_stats(struct qcow2 *q, struct image_stats *stats);
/* Evicts what is clean and not in use, and gives the memory of all free slots back. Any thread. */
void qcow2_l2_cache_give_back(struct image *img);

/* Forgets the slices of an L2 table that is gone. None of them may be in use or dirty. */
void qcow2_l2_cache_forget_table(struct qcow2 *q, uint64_t l2_off);
/* Forgets all slices. No request may be in flight, no slice dirty. */
void qcow2_l2_cache_forget(struct qcow2 *q) REQUIRES(q->struct_lock);

/*
 * Pins the slice of @guest_off's entry in the L2 table at @l2_off, and loads it if needed. Not
 * under alloc_lock (see above). Unpin it with qcow2_slice_put().
 */
int qcow2_slice_co_get(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off,
		       struct slice **ret_slice);
/* The place in the file of the slice with @guest_off's entry, of the L2 table at @l2_off. */
uint64_t qcow2_slice_off(const struct qcow2 *q, uint64_t l2_off, uint64_t guest_off);
/* The same for a slice by its place in the file, a multiple of the slice size. */
int qcow2_slice_co_get_at(struct qcow2 *q, uint64_t host_off, struct slice **ret_slice);
void qcow2_slice_put(struct slice *slice);

/* A slice that was in memory, and what tells whether it still is. */
struct slice_peek {
	struct slice *slice;
	uint64_t gen;
};

/*
 * Finds a slice without lock or pin, for readers of entries: true if it is in memory. The slot may
 * get other contents at any time; what was loaded from it counts only if qcow2_slice_peek_holds()
 * afterwards. Otherwise, pin it. False may also mean that others were changing the shard. Loop
 * threads, with struct_lock held: then the tables that L1 entries name stay in use.
 */
bool qcow2_slice_try_peek(struct qcow2 *q, uint64_t host_off, struct slice_peek *ret_peek);
/* Entries must have been loaded with acquire, as qcow2_slice_load() does. */
static inline bool qcow2_slice_peek_holds(const struct slice_peek *peek)
{
	return atomic_load_explicit(&peek->slice->gen, memory_order_relaxed) == peek->gen;
}

/* Stores an entry and marks the slice dirty. Slice pinned. */
void qcow2_slice_store(struct qcow2 *q, struct slice *slice, unsigned index, struct l2_entry entry)
	REQUIRES(q->alloc_lock);
/*
 * The same for an entry that may reach disk before anything else: it names a cluster that is ready,
 * and the guest range reads as zeroes in the file, in memory and in the cluster.
 */
void qcow2_slice_store_ready(struct qcow2 *q, struct slice *slice, unsigned index,
			     struct l2_entry entry) REQUIRES(q->alloc_lock);

/* Both words of an extended entry, consistent with one store. */
struct l2_entry qcow2_slice_load_extended(const struct slice *slice, unsigned index);

/* Slice pinned or peeked at; no lock. */
static inline struct l2_entry qcow2_slice_load(const struct qcow2 *q, const struct slice *slice,
					       unsigned index)
{
	const _Atomic uint64_t *word = &slice->entries[index];

	if (q->extended_l2)
		return qcow2_slice_load_extended(slice, index);
	return (struct l2_entry){ be64toh(atomic_load_explicit(word, memory_order_acquire)), 0 };
}

/* For flush.c: pins a dirty slice and clears its mark; and the reverse. */
void qcow2_slice_begin_clean(struct slice *slice);
void qcow2_slice_mark_dirty(struct qcow2 *q, struct slice *slice) REQUIRES(q->alloc_lock);

/* One more lookup that found what it wanted in memory. Loop threads. */
void qcow2_l2_cache_count_hit(struct qcow2 *q);

/* ---- summary.c ---- */

/* Returns how much of the cache's @cache_bytes they may take. */
uint64_t qcow2_summaries_init(struct qcow2 *q, uint64_t cache_bytes);
void qcow2_summaries_destroy(struct qcow2 *q);

/*
 * For the loader of a slice, while nobody else can use it: what sums up its entries, which is 0 if
 * nothing does, and where that is kept. NULL: nowhere, and it is 0 as long as the slice is in
 * memory. Any thread.
 */
_Atomic uint64_t *qcow2_summary_prepare(struct qcow2 *q, uint64_t slice_off,
					const _Atomic uint64_t *entries, uint64_t *ret_summary);

/*
 * The first entry of a slice that names one run of clusters, each entry saying the same of the next
 * cluster; 0: look at the slice. Not 0 also means that the file's entries are those in memory. Any
 * thread, with struct_lock held.
 */
uint64_t qcow2_summary_find(const struct qcow2 *q, uint64_t slice_off);

/* The same; most images have none at all. */
static inline uint64_t qcow2_summary_load(const struct qcow2 *q, uint64_t slice_off)
{
	if (!atomic_load_explicit(&q->cache.summaries.hash, memory_order_relaxed))
		return 0;
	return qcow2_summary_find(q, slice_off);
}

/* With the slices: of all tables, which also gives back the memory, or of one that is gone. */
void qcow2_summaries_forget(struct qcow2 *q);
void qcow2_summaries_forget_table(struct qcow2 *q, uint64_t l2_off);

/* ---- mapping.c ---- */

/* Stores an L1 entry, to be written by the next flush. */
void qcow2_l1_store(struct qcow2 *q, uint32_t l1_index, uint64_t entry) REQUIRES(q->alloc_lock);

/* The state of a subcluster (of the cluster, without extended L2 entries). */
enum mapping_type {
	MAPPING_UNALLOCATED,	/* no host cluster */
	MAPPING_HOLE,		/* not allocated, in a host cluster that other subclusters use */
	MAPPING_ZERO,		/* zero flag, no host cluster */
	MAPPING_ZERO_ALLOCATED, /* zero flag, and a host cluster kept for it */
	MAPPING_NORMAL,
	MAPPING_COMPRESSED,
};

/* What a guest range is mapped to. */
struct mapping {
	enum mapping_type type;
	bool copied;	   /* with a host cluster: its refcount is one; may be written in place */
	uint64_t host_off; /* with a host cluster: place of the requested offset in q->data_file */
	uint64_t bytes;	   /* from the requested offset on, all of this type, contiguous */
	uint64_t entry;	   /* COMPRESSED: the descriptor in its L2 entry (one cluster) */
	bool reserved;	   /* an entry has reserved bits set: read-only */
};

/* Checks an L2 entry, or only its first word, against the specification. -EIO: it is invalid. */
int qcow2_check_entry(const struct qcow2 *q, struct l2_entry entry);
int qcow2_check_descriptor(const struct qcow2 *q, uint64_t desc);

/* Checks an L2 entry and returns the state of a subcluster. */
int qcow2_entry_type(const struct qcow2 *q, struct l2_entry entry, unsigned subcluster,
		     enum mapping_type *ret_type);

/*
 * Whether a run of clusters of @type goes on with another one of that type; @is_next_place: whose
 * place is behind that of the run.
 */
bool qcow2_run_continues(enum mapping_type type, bool is_next_place);

/* Whether a standard cluster's entry names a host cluster. */
static inline bool qcow2_has_cluster(const struct qcow2 *q, uint64_t desc)
{
	if (desc & QCOW2_COMPRESSED)
		return false;
	/* "The offset may only be 0 with bit 63 set ... when an external data file is used." */
	return desc & QCOW2_OFFSET_MASK || (qcow2_has_data_file(q) && desc & QCOW2_COPIED);
}

/* The same, and nothing else uses the cluster. */
static inline bool qcow2_has_own_cluster(const struct qcow2 *q, uint64_t desc)
{
	return qcow2_has_cluster(q, desc) && (desc & QCOW2_COPIED || qcow2_has_data_file(q));
}

/* The bits that must be zero in an entry that is not compressed. */
static inline uint64_t qcow2_l2_reserved(const struct qcow2 *q)
{
	return QCOW2_L2_RESERVED | (q->extended_l2 ? QCOW2_ZERO : 0);
}

/* With an external data file "the offset ... must match the guest offset". */
static inline bool qcow2_is_misplaced(const struct qcow2 *q, uint64_t desc, uint64_t guest_off)
{
	return qcow2_has_data_file(q) && qcow2_has_cluster(q, desc) &&
	       (desc & QCOW2_OFFSET_MASK) != qcow2_cluster_start(q, guest_off);
}

/* The subclusters of a valid entry that hold data of this image. */
uint32_t qcow2_data_subclusters(const struct qcow2 *q, struct l2_entry entry);

/* Whether an unallocated cluster reads as zeroes: the backing file does not extend this far. */
static inline bool qcow2_nothing_below(const struct qcow2 *q, uint64_t off)
{
	return !q->img->backing || off >= image_size(q->img->backing);
}

/* Whether @off reads as zeroes according to @map, without looking at data. */
static inline bool qcow2_mapping_is_zero(const struct qcow2 *q, const struct mapping *map,
					 uint64_t off)
{
	if (map->type == MAPPING_UNALLOCATED || map->type == MAPPING_HOLE)
		return qcow2_nothing_below(q, off);
	return map->type == MAPPING_ZERO || map->type == MAPPING_ZERO_ALLOCATED;
}

/* Looks up the first part of a guest range. Takes only a shard lock; yields on a miss. */
int qcow2_co_lookup(struct qcow2 *q, uint64_t guest_off, uint64_t bytes, struct mapping *ret_map);

/* The place of an entry's compressed data; *ret_bytes is an upper bound. */
void qcow2_compressed_range(const struct qcow2 *q, uint64_t entry, uint64_t *ret_host_off,
			    uint32_t *ret_bytes);
/*
 * The entry for compressed data of less than a cluster; false: its offset is too large for an
 * entry.
 */
bool qcow2_compressed_entry(const struct qcow2 *q, uint64_t host_off, uint32_t bytes,
			    uint64_t *ret_entry);

/*
 * The slice of a guest offset, pinned, in a table that may be written; creates the L2 table if
 * there is none. Not under alloc_lock.
 */
int qcow2_co_get_writable_slice(struct qcow2 *q, uint64_t guest_off, struct slice **ret_slice)
	EXCLUDES(q->alloc_lock);

/*
 * Before an entry with this descriptor is replaced: the overlap check of the clusters that it
 * names, because they will be freed.
 */
int qcow2_co_check_unlink(struct qcow2 *q, uint64_t desc) REQUIRES(q->alloc_lock);
/* Gives up, later, the clusters of a descriptor that is no longer in any entry. */
void qcow2_unlink_entry(struct qcow2 *q, uint64_t desc) REQUIRES(q->alloc_lock);

/* ---- vm_state.c ---- */

/* Where it begins in the address space of the disk: behind its end. */
uint64_t qcow2_vm_state_off(const struct qcow2 *q);
int qcow2_co_read_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
int qcow2_co_write_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

/* ---- read.c ---- */

int qcow2_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
/* The same within a request: the caller has struct_lock and an epoch. */
int qcow2_co_read_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem);
int qcow2_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			  struct image_extent *ret_extent);

/* ---- copy_up.c ---- */

int qcow2_co_copy_up(struct image *img, uint64_t off, uint64_t bytes);

/* ---- compress.c ---- */

/* Reads and inflates one compressed cluster into @buf (cluster_size bytes). */
int qcow2_co_read_compressed(struct qcow2 *q, uint64_t entry, void *buf);

/*
 * Compresses a cluster into @dst, which has room for one. *ret_bytes is less than a cluster; 0: the
 * data does not shrink. @fast only means something if qcow2_can_compress_fast().
 */
int qcow2_co_compress(struct qcow2 *q, bool fast, const void *src, void *dst, uint32_t *ret_bytes);
void qcow2_load_compression(void);
bool qcow2_can_compress_fast(const struct qcow2 *q);
/* Whether clusters like this one then hardly become larger. */
bool qcow2_co_compress_fast_suffices(struct qcow2 *q, const void *src);

/* ---- write_compressed.c ---- */

int qcow2_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

/* ---- alloc_bytes.c ---- */

/*
 * Allocates room for compressed data of less than a cluster, and takes a reference on each host
 * cluster that it touches. -EFBIG: no L2 entry can name that place; or errors of
 * qcow2_co_alloc_clusters().
 */
int qcow2_co_alloc_bytes(struct qcow2 *q, uint32_t bytes, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock);
/* Drops the references; the room is not reused before the whole cluster is. */
int qcow2_co_put_bytes(struct qcow2 *q, uint64_t host_off, uint32_t bytes) REQUIRES(q->alloc_lock);

/* A host cluster is about to be freed: no more data is put into it. */
static inline void qcow2_leave_cluster(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock)
{
	if (qcow2_cluster_index(q, q->byte_tail) == cluster)
		q->byte_tail = 0;
}

/* ---- write.c ---- */

int qcow2_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		     unsigned flags);
int qcow2_co_write_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem);
/*
 * The same where the backing file decides, in whole subclusters; where this image does, nothing is
 * written. Other changes may happen at the same time.
 */
int qcow2_co_fill_range(struct qcow2 *q, uint64_t off, uint64_t bytes, struct iobuf mem);

/* Claims and releases guest clusters. Before: qcow2_co_wait_for_plans(). */
void qcow2_plan_begin(struct qcow2 *q, struct plan *plan) REQUIRES(q->alloc_lock);
void qcow2_plan_end(struct qcow2 *q, struct plan *plan) REQUIRES(q->alloc_lock);

/*
 * The number of clusters from @first on that no plan covers, up to @nr. 0: it waited for the plan
 * that covers the first one; anything looked up before is stale.
 */
uint64_t qcow2_co_wait_for_plans(struct qcow2 *q, uint64_t first, uint64_t nr)
	REQUIRES(q->alloc_lock);

/*
 * Every change of guest data calls this first, within its request: it checks again that the range
 * is inside the disk, settles the header, and records the change in the bitmaps. Usually that is a
 * few loads. -EIO: the range is beyond the end.
 */
int qcow2_co_begin_change(struct qcow2 *q, uint64_t off, uint64_t bytes)
	REQUIRES_SHARED(q->struct_lock);
/* The same for what does not change the disk. */
int qcow2_co_begin_unchanged(struct qcow2 *q, uint64_t off, uint64_t bytes)
	REQUIRES_SHARED(q->struct_lock);

/* ---- zero.c ---- */

int qcow2_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes);
int qcow2_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);

/*
 * Within a request: makes whole subclusters read as zeroes. -ENOTSUP: some have data of this image,
 * or there is no zero flag; others may have been done.
 */
int qcow2_co_zero_empty(struct qcow2 *q, uint64_t off, uint64_t bytes);

/* For growth: makes the range read as zeroes, whatever is below. struct_lock held. */
int qcow2_co_zero_range(struct qcow2 *q, uint64_t off, uint64_t bytes);

/* ---- resize.c, prealloc.c ---- */

/* Makes the L1 table long enough for @size bytes. Everything is flushed; with struct_lock. */
int qcow2_co_cover(struct qcow2 *q, uint64_t size, GError **err);
int qcow2_co_resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err);
int qcow2_co_resize_locked(struct qcow2 *q, uint64_t size, enum image_preallocation mode,
			   GError **err) REQUIRES(q->struct_lock);

/*
 * Ends the file behind its last cluster in use. With struct_lock held for writing, and everything
 * flushed and reclaimed.
 */
int qcow2_co_cut_file(struct qcow2 *q) EXCLUDES(q->alloc_lock);

/*
 * Allocates host clusters that read as zeroes for the guest clusters in a range that reads as
 * zeroes. With struct_lock held for writing.
 */
int qcow2_co_preallocate(struct qcow2 *q, uint64_t off, uint64_t end, enum image_preallocation mode)
	EXCLUDES(q->alloc_lock);

/* ---- data.c ---- */

/* Reads and writes guest data at a host offset of q->data_file. */
int qcow2_co_read_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, struct iobuf mem);
int qcow2_co_write_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, struct iobuf mem);
/* Writes zeroes as data, for which even the device below allocates space; or efficiently. */
int qcow2_co_write_zero_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes);
int qcow2_co_zero_data(struct qcow2 *q, uint64_t host_off, uint64_t bytes, unsigned flags);

/* Punches a hole in a data file if possible; afterwards the range reads as zeroes or as before. */
int qcow2_co_discard_data(struct qcow2 *q, uint64_t off, uint64_t bytes);

/* ---- data_file.c ---- */

/*
 * Opens the external data file, if the image has one and img->data_file is not set, after the
 * header was read.
 */
int qcow2_co_open_data_file(struct qcow2 *q, const struct image_open_opts *opts, GError **err);
int qcow2_co_close_data_file(struct qcow2 *q);

/* Creates or truncates the data file of a new image, which is in @file, and opens it. */
int qcow2_co_create_data_file(const struct image *file, const char *name,
			      const struct image_create_opts *opts, struct image **ret_node,
			      GError **err);

/* ---- amend.c ---- */

extern const struct image_option qcow2_amend_options[];
int qcow2_co_amend(struct image *img, GHashTable *options,
		   void (*report)(void *arg, uint64_t done, uint64_t total), void *arg,
		   GError **err);

/* ---- backing.c, snapshot.c; see image_chain.h ---- */

int qcow2_co_set_backing(struct image *img, const char *filename, const char *format, GError **err);
int qcow2_co_make_empty(struct image *img, GError **err);

/* ---- hole.c ---- */

/* The last hole found in the file. A hostile image may have many tables in few holes. */
struct hole {
	uint64_t start, end;
};

/* Whether the file is known to read as zeroes there, without reading it. */
bool qcow2_co_is_hole(struct qcow2 *q, struct hole *hole, uint64_t host_off, uint64_t bytes);

/* ---- refcount.c ---- */

int qcow2_co_refcount_init(struct qcow2 *q, GError **err);
void qcow2_refcount_destroy(struct qcow2 *q);

/*
 * Allocates up to @nr contiguous host clusters, at least one; their refcounts become one.
 * *ret_fresh: they were never written, and read as zeroes. -ENOSPC, -EFBIG, or an I/O error; then
 * nothing was allocated.
 */
int qcow2_co_alloc_clusters(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off, uint64_t *ret_nr,
			    bool *ret_fresh) REQUIRES(q->alloc_lock);

/*
 * The same. *ret_ready: entries that name them may be written at once, since their refcounts and
 * the length of the file are durable. Then they are fresh, too.
 */
int qcow2_co_alloc_ready_clusters(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off,
				  uint64_t *ret_nr, bool *ret_fresh, bool *ret_ready)
	REQUIRES(q->alloc_lock);

/*
 * For reserve.c: raises the refcounts of free clusters from @cluster on, as far as blocks exist;
 * returns how many, or -errno. And the reverse, for clusters that nobody was given.
 */
int64_t qcow2_co_take_run(struct qcow2 *q, uint64_t cluster, uint64_t nr) REQUIRES(q->alloc_lock);
int qcow2_co_untake_run(struct qcow2 *q, uint64_t cluster, uint64_t nr) REQUIRES(q->alloc_lock);

/* Raises the refcount of a cluster in use. -EMLINK: it is already the maximum for its width. */
int qcow2_co_add_reference(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock);

/* Lowers the refcounts of clusters by one; nothing on disk may point to them. */
int qcow2_co_put_clusters(struct qcow2 *q, uint64_t cluster, uint64_t nr) REQUIRES(q->alloc_lock);
/* The same for one cluster that has lost several references. */
int qcow2_co_drop_references(struct qcow2 *q, uint64_t cluster, uint64_t references)
	REQUIRES(q->alloc_lock);

int qcow2_co_get_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *ret_refcount)
	REQUIRES(q->alloc_lock);

/*
 * Lowers *@end, a cluster index, until the cluster before it is in use. The caller has written all
 * refcounts, so refcount blocks that are holes in the file are not read.
 */
int qcow2_co_find_end(struct qcow2 *q, struct hole *hole, uint64_t *end) REQUIRES(q->alloc_lock);

/*
 * Writes all refcounts and the refcount table, without a flush of the file; except that new blocks
 * are flushed before the table names them. flush.c leaves none.
 */
int qcow2_co_write_refcounts(struct qcow2 *q) REQUIRES(q->alloc_lock);
/*
 * Only the table: the blocks that it names are durable, but may be wrong while the image is dirty.
 */
int qcow2_co_write_reftable(struct qcow2 *q) REQUIRES(q->alloc_lock);
/* A flush of the file has succeeded that began when so many blocks had been made. */
void qcow2_new_blocks_durable(struct qcow2 *q, uint64_t made) REQUIRES(q->alloc_lock);
/* What was written is durable, or cannot be relied on. */
void qcow2_refcounts_synced(struct qcow2 *q, bool durable) REQUIRES(q->alloc_lock);

/* Replaces all refcounts with another table, which is already on disk; takes over both arrays. */
void qcow2_refcount_replace(struct qcow2 *q, uint64_t *reftable, uint8_t *state, uint64_t size,
			    uint64_t reftable_off, uint64_t free_hint) REQUIRES(q->alloc_lock);

/* A refcount in a block as on disk. */
uint64_t qcow2_refcount_load(unsigned order, const void *block, uint64_t index);
void qcow2_refcount_store(unsigned order, void *block, uint64_t index, uint64_t value);

/* ---- refgrow.c ---- */

/* The refcount table is written in units; the state of each is in reftable_state. */
#define REFTABLE_UNIT_BYTES    4096u
#define REFTABLE_UNIT_ENTRIES  (REFTABLE_UNIT_BYTES / sizeof(uint64_t))
#define REFTABLE_UNIT_DIRTY    1
#define REFTABLE_UNIT_UNSYNCED 2

/* Whether the refcount of a cluster can be set; otherwise it is zero. */
static inline bool qcow2_refblock_exists(const struct qcow2 *q, uint64_t cluster)
	REQUIRES(q->alloc_lock)
{
	uint64_t index = cluster >> q->refblock_bits;

	return index < q->reftable_size && q->reftable[index];
}

/*
 * Makes sure that the refcount of a free cluster can be set. *ret_again: search for a free cluster
 * again.
 */
int qcow2_co_make_countable(struct qcow2 *q, uint64_t cluster, bool *ret_again)
	REQUIRES(q->alloc_lock);

/*
 * Allocates contiguous clusters for a table of any length; their refcounts become one. Nothing
 * points to them yet, so a failure leaves at worst leaks. Errors as for qcow2_co_alloc_clusters().
 */
int qcow2_co_alloc_contiguous(struct qcow2 *q, uint64_t nr, uint64_t *ret_host_off)
	REQUIRES(q->alloc_lock);

/* Everything below the end of @end_cluster may have been written. */
static inline void qcow2_raise_zero_off(struct qcow2 *q, uint64_t end_cluster)
	REQUIRES(q->alloc_lock)
{
	q->zero_off = MAX(q->zero_off, end_cluster << q->cluster_bits);
}

/* ---- reserve.c ---- */

/* For step 1 of a flush: raises refcounts ahead of need, if that is worth it. */
void qcow2_co_extend_reserve(struct qcow2 *q) REQUIRES(q->alloc_lock);
/* A flush of the file has succeeded that began when refcounts up to @end were written. */
void qcow2_reserve_durable(struct qcow2 *q, uint64_t end) REQUIRES(q->alloc_lock);
/* Lowers its refcounts in memory. No request may be in flight. */
int qcow2_co_release_reserve(struct qcow2 *q) REQUIRES(q->alloc_lock);

/* ---- ahead.c ---- */

/*
 * Once the image can be written to, before its first write: lets the file grow ahead, and cuts off
 * what a process that was killed has left behind its end.
 */
void qcow2_co_grow_ahead(struct qcow2 *q) EXCLUDES(q->alloc_lock);

/* ---- overlap.c ---- */

/* Collects the image's tables when it is opened. -EIO: they overlap each other. */
int qcow2_claim_metadata(struct qcow2 *q, GError **err) REQUIRES(q->alloc_lock);
void qcow2_metadata_destroy(struct qcow2 *q);

/* The content of a host cluster that is not data. */
enum metadata_kind {
	METADATA_NONE,
	METADATA_HEADER,
	METADATA_L1,
	METADATA_L2,
	METADATA_REFTABLE,
	METADATA_REFBLOCK,
	METADATA_BITMAPS,
	METADATA_OTHER, /* never written in place: snapshots and their L1 tables */
};

/* Registers a table while the image is opened. -EIO: it overlaps others. */
int qcow2_claim(struct qcow2 *q, enum metadata_kind kind, const char *what, uint64_t host_off,
		uint64_t bytes, GError **err) REQUIRES(q->alloc_lock);

/*
 * The overlap check: 0, or -EIO if data is about to be written over the image's own tables; then
 * the image is marked corrupt and takes no more metadata.
 */
int qcow2_co_check_overlap(struct qcow2 *q, uint64_t host_off, uint64_t bytes)
	EXCLUDES(q->alloc_lock);
/* The same for whole host clusters, before they are written, freed, punched or truncated. */
int qcow2_co_check_overlap_locked(struct qcow2 *q, uint64_t first_cluster, uint64_t nr)
	REQUIRES(q->alloc_lock);
/* Before the refcount of an L2 table falls to zero: exactly @owners L1 tables must name it. */
int qcow2_co_check_last_owners(struct qcow2 *q, uint64_t cluster, uint64_t owners)
	REQUIRES(q->alloc_lock);

/*
 * Before metadata is written in place: 0, or -EIO if something other than @kind is there; then the
 * image is marked corrupt, as above. New tables do not need this: their clusters were checked when
 * they were allocated.
 */
int qcow2_co_check_metadata(struct qcow2 *q, enum metadata_kind kind, uint64_t host_off,
			    uint64_t bytes) REQUIRES(q->alloc_lock);

/* Registers new metadata for the overlap check. */
void qcow2_add_metadata(struct qcow2 *q, enum metadata_kind kind, uint64_t first_cluster,
			uint64_t nr) REQUIRES(q->alloc_lock);

void qcow2_remove_metadata(struct qcow2 *q, uint64_t first_cluster, uint64_t nr)
	REQUIRES(q->alloc_lock);

/* A copy of q->metadata, to be changed and to replace it. */
GHashTable *qcow2_copy_metadata(struct qcow2 *q) REQUIRES(q->alloc_lock);

/* The same for an L2 table: one more, or one less, L1 table names it. */
void qcow2_add_l2_table(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock);
void qcow2_drop_l2_table(struct qcow2 *q, uint64_t cluster) REQUIRES(q->alloc_lock);

/* ---- write_group.c ---- */

struct metadata_write {
	uint64_t host_off;
	uint64_t bytes;
	const void *buf;	 /* what is written */
	const struct iovec *iov; /* instead of @buf, if it is in several pieces */
	enum image_event event;	 /* reported before */
	bool done;		 /* set by the write: it succeeded */
};

/* Writes them to q->file in any order. The first error, if any; then some may not be done. */
int qcow2_co_write_group(struct qcow2 *q, struct metadata_write *writes, unsigned nr);

/* ---- flush.c ---- */

/* C7. Not under alloc_lock or flush_lock. */
int qcow2_co_flush_all(struct qcow2 *q) EXCLUDES(q->alloc_lock, q->flush_lock);
int qcow2_co_flush(struct image *img);
int qcow2_co_write_back(struct image *img, uint64_t off, uint64_t bytes);
/* For close: also reclaims every freed cluster. No request may be in flight. */
int qcow2_co_flush_and_reclaim(struct qcow2 *q) EXCLUDES(q->alloc_lock, q->flush_lock);

/*
 * After a request that may have freed clusters: waits if more of them are pending than memory
 * allows. Errors as for a flush.
 */
int qcow2_co_make_room(struct image *img);
/* The same within an operation that excludes requests. */
int qcow2_co_make_room_alone(struct qcow2 *q) EXCLUDES(q->alloc_lock, q->flush_lock);

/* ---- reclaim.c ---- */

/*
 * Bracket every request that uses mappings: struct_lock is held for reading, and the request is
 * counted in an epoch (C5). Pass the result to qcow2_request_end().
 */
uint64_t qcow2_co_request_begin(struct qcow2 *q) ACQUIRE_SHARED(q->struct_lock);
void qcow2_request_end(struct qcow2 *q, uint64_t epoch) RELEASE_SHARED(q->struct_lock);

/* Clusters that nothing in memory points to any more will lose one reference each, later. */
void qcow2_unlink_clusters(struct qcow2 *q, uint64_t cluster, uint64_t nr, bool is_l2)
	REQUIRES(q->alloc_lock);

/* For flush.c: takes the unlinked clusters; then they are gone from disk, too, or put back. */
void qcow2_take_unlinked(struct qcow2 *q, struct freed_runs *taken) REQUIRES(q->alloc_lock);
void qcow2_unlinked_on_disk(struct qcow2 *q, struct freed_runs *taken) REQUIRES(q->alloc_lock);
void qcow2_put_back_unlinked(struct qcow2 *q, struct freed_runs *taken) REQUIRES(q->alloc_lock);

/* Of a writable image. The first returns 0 or -ENOMEM; without it, the second does nothing. */
int qcow2_reclaimer_init(struct qcow2 *q, GError **err);
void qcow2_reclaimer_destroy(struct qcow2 *q);
/*
 * Has a coroutine of the running loop reclaim the freed clusters that no request can see any more.
 * If there is one already, it checks again.
 */
void qcow2_start_reclaimer(struct qcow2 *q);
/*
 * Outside a request, and after a flush: waits while there are as many freed clusters as memory
 * allows, some of which only wait for requests to end. Once room has been made, it waits no longer,
 * even if others have taken it.
 */
void qcow2_co_wait_for_room(struct qcow2 *q) EXCLUDES(q->alloc_lock, q->reclaim_lock);
/* Waits until the reclaimer has ended. Nothing may start it again. */
void qcow2_co_end_reclaimer(struct qcow2 *q) EXCLUDES(q->alloc_lock);
/* Reclaims in the calling coroutine. */
int qcow2_co_reclaim(struct qcow2 *q) EXCLUDES(q->alloc_lock, q->reclaim_lock);

/* ---- bitmap*.c ---- */

/* Whether the image has valid bitmaps; stale ones are leaks. */
bool qcow2_has_bitmaps(const struct qcow2 *q);

/*
 * Callbacks of a walk over the bitmaps: for each range of the file that they occupy (@what names
 * it), and for each problem. Either stops the walk by returning -errno.
 */
struct bitmap_walk {
	int (*range)(void *arg, const char *what, uint64_t host_off, uint64_t bytes);
	int (*problem)(void *arg, const char *text);
	void *arg;
};

/* Records a change of guest data, within its request, in the bitmaps that track changes. */
int qcow2_co_track(struct qcow2 *q, uint64_t off, uint64_t bytes) REQUIRES_SHARED(q->struct_lock);

/*
 * Called before the disk's size changes: no bitmap on disk is valid until the image is closed, when
 * all are stored in the new size. As in QEMU, the added part is clean. -ENOTSUP, with a reason: an
 * inconsistent bitmap cannot be resized.
 */
int qcow2_co_bitmaps_resize(struct qcow2 *q, uint64_t new_size, GError **err)
	REQUIRES(q->struct_lock);

/*
 * Called before a snapshot is applied, with its disk's size: it is unknown what changes, so the
 * whole disk becomes dirty. Like qcow2_co_bitmaps_resize() if the size changes.
 */
int qcow2_co_bitmaps_replace_disk(struct qcow2 *q, uint64_t new_size, GError **err)
	REQUIRES(q->struct_lock);

/* Opens the bitmaps of a writable image; refuses bitmaps that it cannot maintain. */
int qcow2_co_bitmaps_open(struct qcow2 *q, GError **err);
/* Stores the tracked bits. No request may be in flight. */
int qcow2_co_bitmaps_close(struct qcow2 *q);
void qcow2_bitmaps_destroy(struct qcow2 *q);

bool qcow2_can_hold_bitmaps(const struct image *img);
int qcow2_co_bitmap_list(struct image *img, GPtrArray **ret_list, GError **err);
int qcow2_co_bitmap_load(struct image *img, const char *name, struct dirty_bits **ret_bits,
			 GError **err);
int qcow2_co_bitmap_change(struct image *img, enum image_bitmap_action action, const char *name,
			   uint64_t granularity, GError **err);
int qcow2_co_bitmap_merge(struct image *img, const char *name, const struct dirty_bits *src,
			  GError **err);

/* Walks over the bitmaps on disk. -errno: a read error, or the error that stopped it. */
int qcow2_co_walk_bitmaps(struct qcow2 *q, const struct bitmap_walk *walk);

/* ---- info.c ---- */

int qcow2_co_get_info(struct image *img, struct image_info *info, GError **err);
void qcow2_add_stats(const struct image *img, struct image_stats *stats);

/* ---- snapshot.c; see image_ops.h ---- */

int qcow2_co_snapshot_list(struct image *img, GArray *list);
int qcow2_co_snapshot_create(struct image *img, const char *name, GError **err);
int qcow2_co_snapshot_apply(struct image *img, const char *which, GError **err);
int qcow2_co_snapshot_delete(struct image *img, const char *name, GError **err);

/* ---- create.c, measure.c, check.c ---- */

extern const struct image_option qcow2_create_options[];
int qcow2_check_create(const struct image_create_opts *opts, GError **err);
int qcow2_co_create(struct image *file, const struct image_create_opts *opts, GError **err);
int qcow2_co_measure(const struct image_create_opts *opts, struct image *source,
		     struct image_measurement *ret_measurement, GError **err);
int qcow2_co_check(struct image *img, const struct image_check_opts *opts,
		   struct image_check_result *result);
/*
 * The same before the image is open: only the header need be known. Refcounts and L1 are read into
 * memory from the file afterwards.
 */
int qcow2_co_check_file(struct qcow2 *q, const struct image_check_opts *opts,
			struct image_check_result *result);

#endif
