/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that use one image from several loops at once, for some time. Every read is compared with
 * what was written, sector by sector. Some reads go where others write or discard at the same time:
 * they must find sectors that belong there. One more job does structural operations.
 */
#ifndef UBD_TESTS_JOBS_H
#define UBD_TESTS_JOBS_H

#include "claims.h"
#include "guest.h"
#include "model.h"

/* Of 100 requests; the rest are reads. */
struct job_mix {
	unsigned percent_write;
	unsigned percent_compressed; /* of the writes */
	unsigned percent_zero;
	unsigned percent_discard;
	unsigned percent_flush;
	unsigned min_bytes;
	unsigned max_bytes;
	/*
	 * Of 100 reads; without a claim. For disks that write sectors in one piece, which
	 * the page cache does not.
	 */
	unsigned percent_reckless;
	/* How many go to the first few clusters, where the jobs get in each other's way. */
	unsigned percent_hot;
	/* Of the rest: follow the last such request of any job, as a sequential writer does. */
	unsigned percent_in_order;
};

struct job_set {
	/* Set before they are run. */
	struct structural *structural; /* the image, and what else is done to it */
	struct model *model;
	struct claims *claims;
	const struct job_mix *mix;
	uint64_t seed;
	unsigned count;
	double seconds;
	_Atomic uint32_t *next_version;
	/* Their own. */
	struct guest guest;
	int64_t until;
	_Atomic uint64_t in_order; /* where the next such request begins, modulo the size */
	_Atomic uint64_t requests;
};

/* Runs them. NULL if all went well; otherwise what went wrong, which the caller frees. */
char *jobs_co_run(struct job_set *set, struct crew *crew);

#endif
