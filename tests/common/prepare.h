/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images to start a test with, made by qemu-img, and what a guest finds in them. */
#ifndef UBD_TESTS_PREPARE_H
#define UBD_TESTS_PREPARE_H

#include <stdint.h>

#include "rng.h"

enum prepared_backing {
	BACKING_NONE,
	BACKING_RAW,
	BACKING_QCOW2,
	BACKING_SHORT, /* raw, and ends before the image does */
};

struct image_spec {
	const char *format; /* "raw" or "qcow2"; the rest is for qcow2 */
	uint64_t size;	    /* a multiple of 64 KiB */
	unsigned cluster_size;
	unsigned refcount_bits; /* 0: 16 */
	unsigned compat;	/* version of the format, 2 or 3; 0: 3 */
	bool lazy_refcounts;
	bool extended_l2;
	bool data_file;	    /* an external one; then not compressed */
	bool data_file_raw; /* then without a backing file */
	enum prepared_backing backing;
	unsigned percent_filled; /* of it is data in the image itself ... */
	bool compressed;	 /* ... in compressed clusters */
	const char *compression; /* "zlib" or "zstd"; NULL: "zlib" */
};

/*
 * Makes the image in a scratch folder and returns its name; the caller frees
 * it. *ret_initial gets the version (see stamp.h) of each sector; free it too.
 */
char *prepare_image(const char *folder, const struct image_spec *spec, struct rng *rng,
		    uint32_t **ret_initial);

/* The spec on one line. The caller frees it. */
char *image_spec_describe(const struct image_spec *spec);

#endif
