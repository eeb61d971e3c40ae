// SPDX-License-Identifier: GPL-2.0-or-later
/* A guest with several requests in flight; see workload.h. */
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fixed.h"
#include "request.h"
#include "watchdog.h"

#define MAX_BYTES     (64u << 10)
/* Requests whose data are in a registered buffer, of 100. */
#define PERCENT_FIXED 40

/* A coroutine that does one request after the other. */
struct job {
	struct workload *workload;
	struct rng rng;
	struct rng fixed_rng; /* of its own: where data are changes nothing else */
	uint8_t *buf;
	struct fixed_memory fixed;
	struct request request; /* the present one */
	bool in_fixed;		/* its data are in the registered buffer */
	uint64_t since;		/* when it began; 0: between two */
};

/* ---- what to do next ---- */

static enum request_kind draw_kind(struct job *job)
{
	static const struct {
		enum request_kind kind;
		unsigned percent;
	} mix[] = {
		{ REQUEST_WRITE, 55 },
		{ REQUEST_READ, 15 },
		{ REQUEST_ZERO, 12 },
		{ REQUEST_DISCARD, 18 },
	};
	unsigned ticket = rng_below(&job->rng, 100);
	unsigned i = 0;

	if (rng_percent(&job->rng, job->workload->percent_flush))
		return REQUEST_FLUSH;
	while (ticket >= mix[i].percent)
		ticket -= mix[i++].percent;
	if (job->workload->overwrites && mix[i].kind != REQUEST_READ)
		return REQUEST_WRITE;
	return mix[i].kind;
}

static uint64_t draw_bytes(struct job *job, uint64_t unit)
{
	uint64_t bytes;

	switch (rng_below(&job->rng, 4)) {
	case 0:
		return rng_between(&job->rng, 1, 16) * SECTOR_SIZE;
	case 1:
		return rng_between(&job->rng, 1, 16) * 4096;
	case 2:
		return rng_between(&job->rng, 1, MAX_BYTES / SECTOR_SIZE) * SECTOR_SIZE;
	default:
		bytes = rng_between(&job->rng, 1, 4) * unit;
		return MIN(bytes, MAX_BYTES);
	}
}

/* Half of all requests are for a few clusters; some are on clusters, most are not. */
static void draw_range(struct job *job, struct request *request)
{
	struct image *img = job->workload->structural->img;
	uint64_t size = image_size(img);
	uint64_t unit = MAX(image_limits(img)->cluster_size, SECTOR_SIZE);
	bool narrow = rng_percent(&job->rng, 50) || job->workload->overwrites;
	uint64_t span = narrow ? MIN(size, MAX(8 * unit, MAX_BYTES)) : size;
	uint64_t align = rng_percent(&job->rng, 30) ? unit : SECTOR_SIZE;

	request->off = rng_below(&job->rng, span / align) * align;
	request->bytes = draw_bytes(job, unit);
	request->bytes = MIN(request->bytes, size - request->off);
}

static void draw_request(struct job *job, struct request *request)
{
	*request = (struct request){ .kind = draw_kind(job) };
	if (request->kind != REQUEST_FLUSH)
		draw_range(job, request);
	if (request->kind == REQUEST_ZERO && rng_percent(&job->rng, 50))
		request->flags |= IMAGE_REQ_MAY_UNMAP;
	if (request->kind == REQUEST_ZERO || request->kind == REQUEST_WRITE)
		request->flags |= rng_percent(&job->rng, 8) ? IMAGE_REQ_FUA : 0;
	if (request->kind == REQUEST_WRITE &&
	    rng_percent(&job->rng, job->workload->percent_compressed))
		request_compress(request, job->workload->structural->img, MAX_BYTES);
	job->in_fixed = rng_percent(&job->fixed_rng, PERCENT_FIXED);
}

/* ---- doing it ---- */

static void fail(struct workload *workload, char *failure)
{
	thread_lock(&workload->lock);
	if (!workload->failure)
		workload->failure = g_steal_pointer(&failure);
	thread_unlock(&workload->lock);
	g_free(failure);
	atomic_store(&workload->stop, true);
}

static void note_error(struct job *job, int error)
{
	g_autofree char *what = request_describe(&job->request);

	atomic_fetch_add(&job->workload->failed_requests, 1);
	if (!job->workload->faults)
		fail(job->workload, g_strdup_printf("%s: %s", what, strerror(-error)));
}

static int co_perform(struct job *job)
{
	const struct request *request = &job->request;
	struct iovec iov;
	struct iobuf mem = job->in_fixed ? fixed_memory_view(&job->fixed)
					 : IOBUF(&iov, job->buf, request->bytes);

	return request_co_perform(request, job->workload->structural->img, mem);
}

static void co_read(struct job *job)
{
	struct workload *workload = job->workload;
	const struct request *request = &job->request;
	char *wrong;
	int ret;

	memset(job->buf, 0xa5, request->bytes);
	ret = co_perform(job);
	if (ret < 0) {
		note_error(job, ret);
		return;
	}
	wrong = history_check_read(workload->history, job->since, memnode_tick(workload->node),
				   request->off, request->bytes, job->buf);
	if (wrong)
		fail(workload, g_strdup_printf("a read while the image was in use: %s", wrong));
	g_free(wrong);
}

static void co_change(struct job *job)
{
	struct workload *workload = job->workload;
	const struct request *request = &job->request;
	uint32_t version;
	int ret;

	version = history_begin_request(workload->history, request, workload->write_back_settles,
					job->since, job->buf);
	ret = co_perform(job);
	if (!ret && workload->write_back)
		ret = image_co_write_back(workload->structural->img);
	if (ret < 0)
		note_error(job, ret);
	history_end(workload->history, version, memnode_tick(workload->node), ret < 0);
}

/* Size and image stay as they are during a request. */
static void co_do_one(struct job *job)
{
	struct workload *workload = job->workload;

	co_rwlock_rdlock(&workload->structural->lock);
	if (workload->structural->img) {
		draw_request(job, &job->request);
		job->since = memnode_tick(workload->node);
		if (job->request.kind == REQUEST_READ)
			co_read(job);
		else
			co_change(job);
		job->since = 0;
	}
	co_rwlock_rdunlock(&workload->structural->lock);
}

static void guest_co(struct job *job)
{
	struct workload *workload = job->workload;

	fixed_memory_init(&job->fixed, job - workload->job_list, job->buf, MAX_BYTES);
	for (unsigned i = 0; i < workload->ops_per_job && !atomic_load(&workload->stop); i++) {
		co_do_one(job);
		watchdog_kick();
	}
	fixed_memory_destroy(&job->fixed);
	if (atomic_fetch_sub(&workload->jobs_left, 1) == 1)
		atomic_store(&workload->jobs_done, true);
}

static void structural_co(struct workload *workload)
{
	char *failure = structural_co_run(workload->structural, &workload->jobs_done);

	if (failure)
		fail(workload, failure);
}

/* The one after the guest's is for structural operations. */
static void job_co(void *arg)
{
	struct job *job = arg;

	if (job == &job->workload->job_list[job->workload->jobs])
		structural_co(job->workload);
	else
		guest_co(job);
}

static struct job *new_jobs(struct workload *workload)
{
	struct job *jobs = g_new0(struct job, workload->jobs + 1);

	for (unsigned i = 0; i <= workload->jobs; i++) {
		jobs[i].workload = workload;
		jobs[i].rng = rng_of(workload->seed, i);
		jobs[i].fixed_rng = rng_of(workload->seed + 1, i);
		jobs[i].buf = g_malloc(MAX_BYTES);
	}
	return jobs;
}

static void free_jobs(struct workload *workload)
{
	for (unsigned i = 0; i <= workload->jobs; i++)
		g_free(workload->job_list[i].buf);
	g_clear_pointer(&workload->job_list, g_free);
}

char *workload_co_run(struct workload *workload, struct crew *crew)
{
	g_autofree void **args = g_new(void *, workload->jobs + 1);

	thread_lock_init(&workload->lock);
	workload->jobs_left = workload->jobs;
	workload->job_list = new_jobs(workload);
	for (unsigned i = 0; i <= workload->jobs; i++)
		args[i] = &workload->job_list[i];
	crew_co_run_all(crew, job_co, args, workload->jobs + 1);
	free_jobs(workload);
	thread_lock_destroy(&workload->lock);
	return g_steal_pointer(&workload->failure);
}

void workload_dump(struct workload *workload)
{
	structural_dump(workload->structural);
	for (unsigned i = 0; workload->job_list && i < workload->jobs; i++) {
		const struct job *job = &workload->job_list[i];

		g_autofree char *what = request_describe(&job->request);

		if (job->since)
			fprintf(stderr, "job %u: %s since tick %" G_GUINT64_FORMAT "\n", i, what,
				job->since);
	}
}
