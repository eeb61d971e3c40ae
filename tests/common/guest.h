/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest: jobs that use one image at once, each one request after the other, spread over the loops
 * of a crew; and one more job that does structural operations. The test decides what they do and
 * check: it provides the steps.
 */
#ifndef UBD_TESTS_GUEST_H
#define UBD_TESTS_GUEST_H

#include "colock.h"
#include "crew.h"
#include "fixed.h"
#include "request.h"
#include "rng.h"
#include "structural.h"

struct guest;

struct guest_job {
	struct guest *guest;
	unsigned number;
	struct rng rng;
	/* guest->memory_bytes, also registered with the loop. */
	uint8_t *memory;
	struct fixed_memory fixed;
	/* Set by the step: the present request, and where in the memory its data is. */
	struct request request;
	bool in_fixed;	/* its data is passed as the registered buffer */
	unsigned shift; /* where it begins */
	uint64_t since; /* when the request began, by the test's clock; 0: between two */
};

struct guest {
	/* Set before it is run. */
	struct structural *structural; /* the image, and what else is done to it */
	unsigned jobs;
	size_t memory_bytes; /* of each job */
	uint64_t seed;
	/*
	 * One step of a job. The size of the disk and the image (if it is open) stay as they are
	 * meanwhile. False if the step could not do a request: others go first then.
	 */
	bool (*co_step)(struct guest_job *job);
	/* Whether the job does another step after that many. */
	bool (*goes_on)(const struct guest_job *job, unsigned steps);
	void *arg; /* the test's */
	/* Its own. */
	struct guest_job *job_list;
	struct thread_lock lock;
	char *failure; /* lock: the first one */
	_Atomic bool stop;
	_Atomic unsigned jobs_left;
	_Atomic bool jobs_done;
};

/* Runs it to its end. NULL if all went well; else what went wrong, which the caller frees. */
char *guest_co_run(struct guest *guest, struct crew *crew);

/* For steps: stops all jobs. Takes over @failure, and drops it if it is not the first. */
void guest_fail(struct guest *guest, char *failure);

/* For steps: where the request's data is, and a view of it. */
uint8_t *guest_job_data(const struct guest_job *job);
struct iobuf guest_job_view(const struct guest_job *job, struct iovec *iov);

/* Prints what each job is doing. For a test that hangs. */
void guest_dump(struct guest *guest);

#endif
