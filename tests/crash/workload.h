/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with several requests in flight: random reads, writes, write zeroes, discards and
 * flushes, also on the same sectors. What it reads is checked against its history. Beside it, one
 * job does structural operations.
 */
#ifndef UBD_TESTS_WORKLOAD_H
#define UBD_TESTS_WORKLOAD_H

#include "guest.h"
#include "history.h"
#include "memnode.h"

struct workload {
	/* Set before it is run. */
	struct structural *structural; /* the image, and what else is done to it */
	struct memnode *node;	       /* for its clock */
	struct history *history;
	uint64_t seed;
	unsigned jobs;
	unsigned ops_per_job;
	unsigned percent_flush;
	unsigned percent_compressed; /* of the writes */
	bool overwrites;	     /* of a few clusters, so that hardly one allocates */
	bool only_writes;	     /* and reads and flushes, all over the disk */
	bool faults;		     /* requests may fail */
	bool write_back;	     /* changes are written back before they end */
	bool write_back_settles;     /* and are settled then, as FUA is */
	/* Its own. */
	struct guest guest;
	struct rng *fixed_rngs; /* of each job; its own: where data is changes nothing else */
	_Atomic uint64_t failed_requests;
};

/* Runs it to its end. NULL if all went well; otherwise what went wrong, which the caller frees. */
char *workload_co_run(struct workload *workload, struct crew *crew);

#endif
