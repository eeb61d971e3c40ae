// SPDX-License-Identifier: GPL-2.0-or-later
/* Operations that may take long; see job.h. */
#include "job.h"

#include <assert.h>
#include <errno.h>

#include "error.h"

void jobs_init(struct jobs *jobs)
{
	*jobs = (struct jobs){ 0 };
	co_mutex_init(&jobs->running);
}

void jobs_destroy(struct jobs *jobs)
{
	assert(!jobs->first);
	co_mutex_destroy(&jobs->running);
}

static unsigned count_waiting(const struct jobs *jobs)
{
	unsigned nr = 0;

	for (const struct job *job = jobs->first; job; job = job->next)
		nr += job->state == JOB_WAITING;
	return nr;
}

static void append(struct jobs *jobs, struct job *job)
{
	struct job **place = &jobs->first;

	while (*place)
		place = &(*place)->next;
	*place = job;
}

static void take_out(struct jobs *jobs, const struct job *job)
{
	struct job **place = &jobs->first;

	while (*place != job)
		place = &(*place)->next;
	*place = job->next;
}

static int refuse_cancelled(GError **err)
{
	return error_refuse(err, -ECANCELED, "the server ends");
}

int job_co_begin(struct jobs *jobs, struct job *job, const char *name, uint64_t total,
		 GError **err) NO_THREAD_SAFETY_ANALYSIS
{
	*job = (struct job){ .name = name, .total = total };
	if (jobs->ended)
		return refuse_cancelled(err);
	if (count_waiting(jobs) == JOBS_MAX_WAITING)
		return error_refuse(err, -EBUSY, "%d operations are waiting already",
				    JOBS_MAX_WAITING);
	append(jobs, job);
	co_mutex_lock(&jobs->running);
	job->state = JOB_RUNNING;
	if (!job->cancelled)
		return 0;
	job_end(jobs, job);
	return refuse_cancelled(err);
}

int job_next_step(struct job *job, GError **err)
{
	if (job->cancelled)
		return refuse_cancelled(err);
	job->done++;
	return 0;
}

/* The lock is that of job_co_begin(), which only takes it if it returns 0. */
void job_end(struct jobs *jobs, struct job *job) NO_THREAD_SAFETY_ANALYSIS
{
	take_out(jobs, job);
	co_mutex_unlock(&jobs->running);
}

void jobs_cancel(struct jobs *jobs)
{
	jobs->ended = true;
	for (struct job *job = jobs->first; job; job = job->next)
		job->cancelled = true;
}

const char *job_state_name(const struct job *job)
{
	return job->state == JOB_RUNNING ? "running" : "waiting";
}
