/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies the contents of an image into another: what is unknown is read, by
 * several coroutines at a time, and what reads as zeroes is not written where the target has them.
 */
#ifndef UBD_COPY_H
#define UBD_COPY_H

#include "image.h"
#include "progress.h"

struct copy_opts {
	struct image *source;
	struct image *target; /* at least as large */
	unsigned coroutines;
	/* A run of zeroes of at least that many bytes makes a hole; 0: write all of it as data. */
	uint64_t sparse_bytes;
	/* Else in the order of the offsets, so that clusters are allocated in it. */
	bool out_of_order;
	/* Compress the target's clusters. */
	bool compress;
	/* What was never written to the target reads as zeroes. */
	bool target_is_zero;
	/* The target stands on the same data as the source: what the source has from there is left
	 * out. */
	bool target_has_backing;
	unsigned write_flags; /* IMAGE_REQ_* */
	struct progress *progress;
};

/* 0, or -errno of the first failure, of which it has told the user. */
int copy_co_run(const struct copy_opts *opts);

#endif
