// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs that use one image at once; see guest.h. */
#include "guest.h"

#include <stdio.h>

#include "watchdog.h"

void guest_fail(struct guest *guest, char *failure)
{
	thread_lock(&guest->lock);
	if (!guest->failure)
		guest->failure = g_steal_pointer(&failure);
	thread_unlock(&guest->lock);
	g_free(failure);
	atomic_store(&guest->stop, true);
}

uint8_t *guest_job_data(const struct guest_job *job)
{
	return job->memory + job->shift;
}

struct iobuf guest_job_view(const struct guest_job *job, struct iovec *iov)
{
	if (job->in_fixed)
		return iobuf_advance(fixed_memory_view(&job->fixed), job->shift);
	return IOBUF(iov, guest_job_data(job), job->request.bytes);
}

/* Size and image stay as they are during a step. */
static void do_step(struct guest_job *job)
{
	struct guest *guest = job->guest;
	bool done;

	co_rwlock_rdlock(&guest->structural->lock);
	done = guest->co_step(job);
	co_rwlock_rdunlock(&guest->structural->lock);
	if (done)
		watchdog_kick();
	else
		co_reschedule();
}

static void run_steps(struct guest_job *job)
{
	struct guest *guest = job->guest;

	fixed_memory_init(&job->fixed, job->number, job->memory, guest->memory_bytes);
	for (unsigned i = 0; !atomic_load(&guest->stop) && guest->goes_on(job, i); i++)
		do_step(job);
	fixed_memory_destroy(&job->fixed);
	if (atomic_fetch_sub(&guest->jobs_left, 1) == 1)
		atomic_store(&guest->jobs_done, true);
}

static void run_operations(struct guest *guest)
{
	char *failure = structural_co_run(guest->structural, &guest->jobs_done);

	if (failure)
		guest_fail(guest, failure);
}

/* The one after the guest's is for structural operations. */
static void job_co(void *arg)
{
	struct guest_job *job = arg;

	if (job->number == job->guest->jobs)
		run_operations(job->guest);
	else
		run_steps(job);
}

static struct guest_job *new_jobs(struct guest *guest)
{
	struct guest_job *jobs = g_new0(struct guest_job, guest->jobs + 1);

	for (unsigned i = 0; i <= guest->jobs; i++) {
		jobs[i].guest = guest;
		jobs[i].number = i;
		jobs[i].rng = rng_of(guest->seed, i);
		jobs[i].memory = try_iobuf_alloc(guest->memory_bytes);
	}
	return jobs;
}

static void free_jobs(struct guest *guest)
{
	struct guest_job *jobs = g_steal_pointer(&guest->job_list);

	for (unsigned i = 0; i <= guest->jobs; i++)
		iobuf_free(jobs[i].memory);
	g_free(jobs);
}

char *guest_co_run(struct guest *guest, struct crew *crew)
{
	g_autofree void **args = g_new(void *, guest->jobs + 1);

	thread_lock_init(&guest->lock);
	guest->jobs_left = guest->jobs;
	guest->job_list = new_jobs(guest);
	for (unsigned i = 0; i <= guest->jobs; i++)
		args[i] = &guest->job_list[i];
	crew_co_run_all(crew, job_co, args, guest->jobs + 1);
	free_jobs(guest);
	thread_lock_destroy(&guest->lock);
	return g_steal_pointer(&guest->failure);
}

void guest_dump(struct guest *guest)
{
	if (guest->structural)
		structural_dump(guest->structural);
	for (unsigned i = 0; guest->job_list && i < guest->jobs; i++) {
		const struct guest_job *job = &guest->job_list[i];
		g_autofree char *what = request_describe(&job->request);

		if (job->since)
			fprintf(stderr, "job %u: %s since %" G_GUINT64_FORMAT "\n", i, what,
				job->since);
	}
}
