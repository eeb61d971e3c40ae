/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations that may take long, which clients of a running server start and others can watch.
 *
 * A job runs in the coroutine that begins it. One runs at a time, because jobs change the image;
 * those that come meanwhile wait. Main loop only.
 */
#ifndef UBD_JOB_H
#define UBD_JOB_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "colock.h"

/* How many may wait. Each is held by a client, and clients must not run out. */
#define JOBS_MAX_WAITING 4

enum job_state {
	JOB_WAITING,
	JOB_RUNNING,
};

/* On the stack of the coroutine that carries it out. */
struct job {
	const char *name;
	enum job_state state;
	bool cancelled;	      /* end as soon as the image allows it */
	uint64_t done, total; /* progress, in steps that depend on the job */
	struct job *next;
};

struct jobs {
	struct job *first; /* in the order of their beginning */
	struct co_mutex running;
	bool ended;
};

void jobs_init(struct jobs *jobs);
/* No job may be left. */
void jobs_destroy(struct jobs *jobs);

/*
 * Adds the job @name of @total steps, and waits for its turn. 0; -EBUSY if too many wait, or
 * -ECANCELED, with @err set, and then the job is not among @jobs.
 */
int job_co_begin(struct jobs *jobs, struct job *job, const char *name, uint64_t total,
		 GError **err);
/* Begins the next step, unless the job is cancelled: then -ECANCELED with @err set. */
int job_next_step(struct job *job, GError **err);
void job_end(struct jobs *jobs, struct job *job);

/* Cancels all jobs, and those to come. It does not wait. */
void jobs_cancel(struct jobs *jobs);

/* "waiting" or "running". */
const char *job_state_name(const struct job *job);

#endif
