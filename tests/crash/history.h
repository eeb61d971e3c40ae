/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest did to its disk, and what it may find there after a power cut.
 *
 * All times are ticks of one clock. For a sector and a cut:
 *
 *   - a write (of data or of zeroes) is settled if it succeeded before a flush started that
 *     succeeded before the cut, or if it was FUA and succeeded;
 *   - a write is gone if it ended before a settled one started;
 *   - the sector holds what any write put there that started before the cut and is not gone; or,
 *     if none is settled, what it held at the beginning;
 *   - a discard may put zeroes there, and settles nothing;
 *   - a structural operation that changes contents is a write of everything that it changes, and
 *     is settled in the same way; so is the size of the disk.
 */
#ifndef UBD_TESTS_HISTORY_H
#define UBD_TESTS_HISTORY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "colock.h"
#include "request.h"
#include "stamp.h"

enum guest_op_kind {
	GUEST_WRITE,
	GUEST_ZERO,
	GUEST_DISCARD,
	GUEST_FLUSH,
	GUEST_BECOME, /* the work of a structural operation */
};

#define GUEST_NEVER UINT64_MAX

struct guest_op {
	enum guest_op_kind kind;
	bool fua;
	bool failed; /* it may have been done in part, and settles nothing */
	uint64_t off;
	uint64_t bytes;
	uint64_t start;
	uint64_t end; /* GUEST_NEVER while in flight */
	/* Of GUEST_BECOME: what all sectors become; NULL: those of the range become zero. */
	uint32_t *versions;
	uint64_t size; /* and the disk */
};

struct history {
	uint64_t sectors;
	uint32_t *initial;
	uint64_t initial_size;
	struct thread_lock lock;
	uint64_t size;	  /* lock: after the last operation that changed it */
	GArray *ops;	  /* lock: struct guest_op in order of their start */
	GArray *entries;  /* lock: struct history_entry */
	uint32_t *newest; /* lock: of each sector, 1 + index of its newest entry */
};

/* @max_bytes: the disk may grow to it. */
void history_init(struct history *history, uint64_t bytes, uint64_t max_bytes,
		  const uint32_t *initial);
void history_destroy(struct history *history);

/* Returns the version with which a write's sectors must be stamped. @now: its start. Any thread. */
uint32_t history_begin(struct history *history, enum guest_op_kind kind, uint64_t off,
		       uint64_t bytes, bool fua, uint64_t now);
void history_end(struct history *history, uint32_t version, uint64_t now, bool failed);

/*
 * The same for a request that changes something; stamps a write's data, @buf. @settles: it settles
 * like FUA.
 */
uint32_t history_begin_request(struct history *history, const struct request *request, bool settles,
			       uint64_t now, uint8_t *buf);

/*
 * The whole disk is about to change: to a size and to @versions of its sectors; NULL: only what is
 * cut off or added changes, to zeroes. No request is in flight. @size at the end: the disk's size.
 */
uint32_t history_begin_become(struct history *history, const uint32_t *versions, uint64_t size,
			      uint64_t now);
void history_end_become(struct history *history, uint32_t version, uint64_t now, bool failed,
			uint64_t size);

/* From when flushes count: the start of the last one that completed before @cut. */
uint64_t history_settled_at(struct history *history, uint64_t cut);

/*
 * Compares what was read after a power cut; @settled is history_settled_at(cut). NULL if all of it
 * is allowed; otherwise what is wrong, which the caller frees.
 */
char *history_check_cut(struct history *history, uint64_t cut, uint64_t settled, uint64_t off,
			uint64_t bytes, const void *buf);

/* The same for a read on the running image that started and ended at these times. */
char *history_check_read(struct history *history, uint64_t start, uint64_t end, uint64_t off,
			 uint64_t bytes, const void *buf);

/* Whether the disk may have this size after a power cut. */
bool history_size_is_allowed(struct history *history, uint64_t cut, uint64_t settled,
			     uint64_t size);

/* One line about a request. The caller frees it. */
char *guest_op_describe(uint32_t version, const struct guest_op *op);

#endif
