/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps (section "Bitmaps" of the specification): what bitmap*.c share. The
 * interface for the rest of qcow2 is in qcow2.h.
 *
 * On disk a directory names the bitmaps, each bitmap has a table, and the table names the clusters
 * with its bits. What the header's extension names never changes in place, with one exception; a
 * change writes new clusters (bitmap_commit.c):
 *
 *   1. bits and tables of the bitmaps that changed, and a directory for all
 *   2. flush: they and their refcounts are durable (C1, C3)
 *   3. the header's extension names the new directory; flush
 *   4. what only the old directory named is freed (C4)
 *
 * The exception: while guest data changes, the bitmaps that track it are marked IN_USE in the
 * directory. The mark is durable before the first change reaches the disk, and the next commit
 * writes a directory without it. So a bitmap without the mark contains every change; a power cut
 * leaves the mark behind, and then nobody uses the bitmap again. The mark is set at the first
 * change, not at open: an image that was opened but not written keeps its bitmaps.
 *
 * In memory a tracked bitmap has only the bits that were set since its last commit: opening an
 * image reads no bits, and storing them ORs them into their clusters.
 */
#ifndef UBD_QCOW2_BITMAP_H
#define UBD_QCOW2_BITMAP_H

#include "dirty_bits.h"
#include "qcow2.h"

struct bitmap {
	const struct image *img; /* the image for which its fresh bits are counted */
	char *name;
	uint32_t flags; /* of its directory entry; IN_USE means inconsistent here */
	unsigned granularity_bits;
	uint8_t *extra; /* extra data, kept as it is */
	uint32_t extra_bytes;
	uint64_t table_off;
	uint32_t table_entries;
	uint64_t entry_off; /* offset of its entry in the directory */
	/* Bits set since the last commit. Only if changes are tracked. */
	struct dirty_bits *fresh;
	/* The disk's size has changed since the last commit: everything is stored again. */
	bool resized;
};

static inline bool qcow2_bitmap_is_inconsistent(const struct bitmap *bitmap)
{
	return bitmap->flags & QCOW2_BITMAP_IN_USE;
}

static inline bool qcow2_bitmap_is_tracked(const struct bitmap *bitmap)
{
	return !qcow2_bitmap_is_inconsistent(bitmap) && bitmap->flags & QCOW2_BITMAP_AUTO;
}

/* Unknown extra data may carry more meaning than we know: "the bitmap must not be used". */
static inline bool qcow2_bitmap_is_usable(const struct bitmap *bitmap)
{
	return !bitmap->extra_bytes || bitmap->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE;
}

/*
 * Replaces its bits in memory with clean ones for a disk of this size. -EFBIG, -ENOMEM: it stays as
 * it was.
 */
int qcow2_bitmap_make_fresh(const struct qcow2 *q, struct bitmap *bitmap, uint64_t disk_bytes,
			    GError **err);
void qcow2_bitmap_drop_fresh(struct bitmap *bitmap);

struct bitmap *qcow2_bitmap_new(const char *name, unsigned granularity_bits, uint32_t flags);
/* Without its bits. */
struct bitmap *qcow2_bitmap_copy(const struct bitmap *bitmap);
void qcow2_bitmap_free(void *bitmap);

/* A list that owns its bitmaps. */
GPtrArray *qcow2_bitmap_list_new(void);
GPtrArray *qcow2_bitmap_list_copy(const GPtrArray *list);
struct bitmap *qcow2_bitmap_find(const GPtrArray *list, const char *name);

/* ---- bitmap_dir.c: directories as bytes ---- */

/*
 * Parses a directory of @nr bitmaps. The caller frees *ret_list. -EINVAL: it is invalid; -ENOTSUP:
 * it uses something unsupported.
 */
int qcow2_bitmap_directory_parse(const uint8_t *dir, uint64_t bytes, uint32_t nr,
				 GPtrArray **ret_list, GError **err);

/*
 * Builds the directory of a list, as on disk, padded with zeroes to a multiple of @unit; sets
 * entry_off. *ret_bytes: its size without padding. NULL: out of memory. Free it with iobuf_free().
 */
uint8_t *qcow2_bitmap_directory_build(const GPtrArray *list, uint32_t unit, uint64_t *ret_bytes);

/* ---- bitmap_read.c ---- */

/* @entry: a table entry in host order. */
bool qcow2_bitmap_table_entry_is_valid(const struct qcow2 *q, uint64_t entry);

/* The number of clusters of bits for a disk of the image's size. */
uint64_t qcow2_bitmap_table_entries(const struct qcow2 *q, unsigned granularity_bits);

/*
 * Reads and checks the image's directory. Without bitmaps, the list is empty. @err names the file.
 */
int qcow2_bitmaps_co_read_directory(struct qcow2 *q, GPtrArray **ret_list, GError **err);

/* Reads a bitmap's table, in host order; free it with iobuf_free(). */
int qcow2_bitmap_co_read_table(struct qcow2 *q, const struct bitmap *bitmap, uint64_t **ret_table);

/* Reads the bits of a table entry: a cluster. */
int qcow2_bitmap_co_read_cluster(struct qcow2 *q, uint64_t entry, uint8_t *buf);

/* Loads all of a bitmap's bits, those on disk and the fresh ones. The caller frees them. */
int qcow2_bitmap_co_load(struct qcow2 *q, const struct bitmap *bitmap, struct dirty_bits **ret_bits,
			 GError **err);

/* ---- bitmap_commit.c ---- */

/*
 * Makes @next the image's bitmaps, on disk and in memory, and takes it over. A bitmap that the
 * image already has keeps its fresh bits, unless @next brings its own, and its table, unless @next
 * has none.
 *
 * On failure, @next is freed and everything is as before.
 */
int qcow2_bitmaps_co_commit(struct qcow2 *q, GPtrArray *next, GError **err)
	REQUIRES(q->struct_lock);

/* ---- bitmap_track.c ---- */

/*
 * Allocates fresh bits for the tracked bitmaps of a list that have none, except those that can
 * inherit them from a bitmap in @old (by name; NULL: none). -EFBIG, -ENOMEM.
 */
int qcow2_bitmaps_make_tracked(const struct qcow2 *q, GPtrArray *list, GHashTable *old,
			       GError **err);

/* The bitmap in @old whose fresh bits this one can inherit; NULL if there is none. */
struct bitmap *qcow2_bitmap_predecessor(const struct qcow2 *q, GHashTable *old,
					const struct bitmap *bitmap);

/* Makes @list, which matches the disk, the image's bitmaps; frees the old list. */
void qcow2_bitmaps_adopt(struct qcow2 *q, GPtrArray *list) REQUIRES(q->struct_lock);

/*
 * Marks bitmaps IN_USE on disk, durably: the tracked ones or, before the size changes, all
 * consistent ones (@all).
 */
int qcow2_bitmaps_co_mark_in_use(struct qcow2 *q, bool all) REQUIRES_SHARED(q->struct_lock);

#endif
