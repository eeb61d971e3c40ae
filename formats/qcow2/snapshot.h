/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The snapshots of an image, and the table that lists them. */
#ifndef UBD_QCOW2_SNAPSHOT_H
#define UBD_QCOW2_SNAPSHOT_H

#include "qcow2.h"

struct snapshot {
	uint64_t l1_off;
	uint32_t l1_size; /* entries */
	char *id;
	char *name;
	uint32_t date_sec;
	uint32_t date_nsec;
	uint64_t vm_clock_nsec;
	uint64_t vm_state_size;
	uint64_t disk_size;
	uint64_t icount; /* UINT64_MAX: unknown */
	/* The entry as on disk, without padding: unknown parts of it are kept. */
	uint8_t *raw;
	size_t raw_bytes;
};

/* ---- snapshot_table.c ---- */

/*
 * Reads the table that the header names into q->snapshots. With IMAGE_FOR_CHECK an invalid table
 * counts as empty, because the check examines it itself.
 */
int qcow2_snapshot_table_co_load(struct qcow2 *q, const struct image_open_opts *opts, GError **err);

/* The size in bytes of the table for q->snapshots. */
uint64_t qcow2_snapshot_table_bytes(const struct qcow2 *q);

/*
 * Builds the table of some snapshots, as on disk. -EFBIG: it is too large. Free it with
 * iobuf_free().
 */
int qcow2_snapshot_table_build(const GPtrArray *snapshots, uint8_t **ret_table,
			       uint64_t *ret_bytes);

/* A snapshot of the current time, for a disk of this size, with a new ID. */
struct snapshot *qcow2_snapshot_new(const struct qcow2 *q, const char *name, uint64_t disk_size);
void qcow2_snapshot_free(void *snapshot);

/* Sets the place of its L1 table. */
void qcow2_snapshot_set_l1(struct snapshot *snapshot, uint64_t l1_off, uint32_t l1_size);

/* The first snapshot with this ID and name, either of which may be NULL. NULL: none. */
struct snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id, const char *name);
/* By ID or, if there is none, by name. */
struct snapshot *qcow2_snapshot_find_any(const struct qcow2 *q, const char *id_or_name);

/* Loads the entries of an L1 table, in host order. g_free() them. */
int qcow2_snapshot_co_load_l1(struct qcow2 *q, uint64_t l1_off, uint32_t l1_size,
			      uint64_t **ret_l1);

/* The number of L1 entries that a disk needs. */
uint64_t qcow2_snapshot_l1_needed(const struct qcow2 *q, uint64_t disk_size);

/*
 * With opts->snapshot...: turns the image into that snapshot, before its L1 table is loaded. It is
 * read-only then.
 */
int qcow2_snapshot_select(struct qcow2 *q, const struct image_open_opts *opts, GError **err);

#endif
