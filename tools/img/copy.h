/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies the contents of one image to another: several coroutines read in parallel, and zeroes are
 * not written where the target already has them.
 */
#ifndef UBD_COPY_H
#define UBD_COPY_H

#include "image.h"
#include "progress.h"

struct copy_opts {
	struct image *source;
	struct image *target; /* at least as large */
	unsigned coroutines;
	/*
	 * A run of zeroes of at least this many bytes becomes a hole; 0: write everything as data.
	 */
	uint64_t sparse_bytes;
	/* Otherwise in the order of offsets, so that clusters are allocated in that order. */
	bool out_of_order;
	/* Compress the target's clusters. */
	bool compress;
	/* Unwritten parts of the target read as zeroes. */
	bool target_is_zero;
	/*
	 * The target's backing file has the same data as the source's: what the source reads from
	 * there is left out.
	 */
	bool target_has_backing;
	unsigned write_flags; /* IMAGE_REQ_* */
	struct progress *progress;
};

/* 0, or -errno of the first failure, which has been reported to the user. */
int copy_co_run(const struct copy_opts *opts);

#endif
