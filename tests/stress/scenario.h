/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One stress test: an image, jobs that use it in rounds, and after each round a look at all of it,
 * by us and by qemu-img. A round begins with cold caches.
 */
#ifndef UBD_TESTS_SCENARIO_H
#define UBD_TESTS_SCENARIO_H

#include "jobs.h"
#include "prepare.h"

enum scenario_disk {
	DISK_IN_MEMORY, /* with delays that let requests overtake each other */
	DISK_FILE,	/* buffered */
	DISK_DIRECT,	/* O_DIRECT, where the file system has it */
};

struct scenario {
	const char *name;
	struct image_spec spec;
	enum scenario_disk disk;
	uint32_t alignment; /* of requests to a disk in memory */
	bool unmap;
	bool grows_ahead; /* the file must grow ahead of its data */
	uint64_t cache_bytes;
	unsigned slice_bytes; /* l2-cache-entry-size, not of a disk in memory; 0: the default */
	struct job_mix mix;
	/* From the command line. */
	unsigned loops;
	unsigned depth; /* jobs per loop */
	unsigned rounds;
	double seconds; /* of all rounds */
	uint64_t seed;
	const char *operation; /* only this structural operation; NULL: all */
	bool broken;	       /* it should fail, and then nobody wants the image */
};

/*
 * *ret_requests, *ret_operations: how many were done. NULL if it passed; otherwise what went wrong
 * and where the image is kept, which the caller frees.
 */
char *scenario_run(const struct scenario *scenario, uint64_t *ret_requests,
		   uint64_t *ret_operations);

#endif
