/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One crash test: a workload on one image, recorded once, and many power cuts.
 *
 * After each cut the image must open, be free of corruption, and hold what its history allows. For
 * some cuts qemu-img must say the same, and the image is written to again and checked once more.
 */
#ifndef UBD_TESTS_CASE_H
#define UBD_TESTS_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "prepare.h"

#define CUT_ALL (-1)

struct crash_case {
	uint64_t seed;
	struct image_spec spec;
	bool unmap; /* freed clusters are given back to the file */
	uint64_t cache_bytes;
	unsigned loops;
	unsigned jobs;
	unsigned ops_per_job;
	unsigned percent_flush;
	unsigned percent_compressed;   /* of the writes */
	bool overwrites;	       /* see workload.h */
	bool only_writes;	       /* likewise */
	bool write_back;	       /* changes are written back before they end */
	bool kills;		       /* no power is cut, the process dies; with write_back */
	unsigned operations;	       /* structural ones, beside the jobs */
	const char *operation;	       /* only this one; NULL: all */
	unsigned max_delay;	       /* of a request to the disk, in turns of the loop */
	unsigned percent_late;	       /* of those requests take much longer */
	uint32_t alignment;	       /* of requests to the disk */
	bool no_write_zeroes;	       /* the disk cannot do it */
	unsigned fault_permille;       /* of requests to the disk */
	unsigned header_fault_percent; /* of writes at its start */
	bool flush_error_stays;	       /* and loses data: see memnode.h */
	bool flush_does_nothing;       /* the disk lies */
	unsigned cuts;
	int only_cut;	    /* the number of one cut, or CUT_ALL */
	bool keep_evidence; /* leave the image and the record of a failure behind */
};

struct crash_stats {
	uint64_t disk_requests;
	uint64_t guest_requests;
	uint64_t failed_requests;
	uint64_t operations;
	uint64_t cuts;
	uint64_t cuts_by_qemu_img;
	uint64_t cuts_continued;
	uint64_t cuts_again; /* of those */
	uint64_t cuts_repaired;
};

/*
 * Adds to *stats. NULL if the case passed; otherwise what went wrong and, if wanted, where the
 * image and the record are kept; the caller frees it.
 */
char *crash_case_run(const struct crash_case *c, struct crash_stats *stats);

/* Everything that makes up the case, on two lines. The caller frees it. */
char *crash_case_describe(const struct crash_case *c);

#endif
