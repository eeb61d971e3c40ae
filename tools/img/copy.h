/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies the contents of one or several images to another: several coroutines read and write in
 * parallel, and zeroes are not written where the target already has them.
 */
#ifndef UBD_COPY_H
#define UBD_COPY_H

#include "concat.h"
#include "image.h"
#include "progress.h"

struct copy_opts {
	const struct concat *source;
	struct image *target; /* at least as large */
	unsigned coroutines;
	/*
	 * A run of zeroes of at least this many bytes becomes a hole; 0: write everything as data.
	 */
	uint64_t sparse_bytes;
	/* Otherwise writes begin in the order of offsets: clusters are allocated in that order. */
	bool out_of_order;
	/* Compress the target's clusters. */
	bool compress;
	/* Unwritten parts of the target read as zeroes. */
	bool target_is_zero;
	/*
	 * The target's backing file has the same data as that of the source, which must be a single
	 * image: what the source reads from there is left out.
	 */
	bool target_has_backing;
	/* The target has all its clusters: writing a part of one costs nothing more. */
	bool target_has_space;
	/* Let the kernel copy from file to file, without looking for zeroes, where it can. */
	bool offload;
	/* Let the target's file share the data of the source's, where both can. */
	bool share;
	/* What cannot be read becomes zeroes. */
	bool salvage;
	bool quiet;	      /* no warnings about that */
	uint64_t rate;	      /* bytes of data per second; 0: no limit */
	unsigned write_flags; /* IMAGE_REQ_* */
	struct progress *progress;
};

/* 0, or -errno of the first failure, which has been reported to the user. */
int copy_co_run(const struct copy_opts *opts);

#endif
