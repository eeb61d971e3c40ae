/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A walk over a disk, piece by piece, with several pieces in flight: for jobs that are driven by
 * block status and need not keep the order of offsets.
 */
#ifndef UBD_PIECES_H
#define UBD_PIECES_H

#include <glib.h>
#include <stdint.h>

enum piece_kind {
	PIECE_SKIP, /* nothing is done here */
	PIECE_ZERO, /* needs no buffers */
	PIECE_DATA,
};

struct piece {
	uint64_t off;
	uint64_t bytes;
	enum piece_kind kind;
	unsigned flags; /* the caller's */
};

struct aio_loop;

struct piece_walk {
	uint64_t size;
	uint64_t max_bytes; /* of PIECE_DATA, which ends on a multiple of it if it is longer */
	unsigned buffers;   /* of max_bytes, for each piece in flight */
	uint64_t bytes_per_second;     /* 0: no limit */
	struct aio_loop *const *loops; /* that share the work; NULL: the running one does it */
	unsigned nr_loops;
	void *arg;
	/*
	 * Classifies the piece at piece->off: sets kind and flags, and reduces bytes, but not to
	 * zero. One call at a time, in the order of offsets.
	 */
	int (*co_look)(void *arg, struct piece *piece, GError **err);
	/* Processes a piece; not called for PIECE_SKIP. Several at a time. */
	int (*co_handle)(void *arg, const struct piece *piece, void *const *buffers, GError **err);
	/* Called when another @bytes bytes are done, one call at a time; may be NULL. */
	void (*progress)(void *arg, uint64_t bytes);
	void *progress_arg;
};

/* 0, or -errno of the first failure; then no piece is in flight any more, and some were done. */
int pieces_co_walk(const struct piece_walk *walk, GError **err);

#endif
