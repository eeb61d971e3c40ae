// SPDX-License-Identifier: GPL-2.0-or-later
/* A guest with several requests in flight; see workload.h. */
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAX_BYTES     (64u << 10)
/* Requests whose data is in a registered buffer, of 100. */
#define PERCENT_FIXED 40

static struct workload *workload_of(const struct guest_job *job)
{
	return job->guest->arg;
}

/* ---- what to do next ---- */

static enum request_kind draw_kind(struct guest_job *job)
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

	if (rng_percent(&job->rng, workload_of(job)->percent_flush))
		return REQUEST_FLUSH;
	while (ticket >= mix[i].percent)
		ticket -= mix[i++].percent;
	if ((workload_of(job)->overwrites || workload_of(job)->only_writes) &&
	    mix[i].kind != REQUEST_READ)
		return REQUEST_WRITE;
	return mix[i].kind;
}

static uint64_t draw_bytes(struct guest_job *job, uint64_t unit)
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

/* Half of all requests go to a few clusters; some are aligned to clusters, most are not. */
static void draw_range(struct guest_job *job, struct request *request)
{
	struct image *img = job->guest->structural->img;
	uint64_t size = image_size(img);
	uint64_t unit = MAX(image_limits(img)->cluster_size, SECTOR_SIZE);
	bool narrow = (rng_percent(&job->rng, 50) && !workload_of(job)->only_writes) ||
		      workload_of(job)->overwrites;
	uint64_t span = narrow ? MIN(size, MAX(8 * unit, MAX_BYTES)) : size;
	uint64_t align = rng_percent(&job->rng, 30) ? unit : SECTOR_SIZE;

	request->off = rng_below(&job->rng, span / align) * align;
	request->bytes = draw_bytes(job, unit);
	request->bytes = MIN(request->bytes, size - request->off);
}

static void draw_request(struct guest_job *job, struct request *request)
{
	*request = (struct request){ .kind = draw_kind(job) };
	if (request->kind != REQUEST_FLUSH)
		draw_range(job, request);
	if (request->kind == REQUEST_ZERO && rng_percent(&job->rng, 50))
		request->flags |= IMAGE_REQ_MAY_UNMAP;
	if (request->kind == REQUEST_ZERO || request->kind == REQUEST_WRITE)
		request->flags |= rng_percent(&job->rng, 8) ? IMAGE_REQ_FUA : 0;
	if (request->kind == REQUEST_WRITE &&
	    rng_percent(&job->rng, workload_of(job)->percent_compressed))
		request_compress(request, job->guest->structural->img, MAX_BYTES);
	job->in_fixed = rng_percent(&workload_of(job)->fixed_rngs[job->number], PERCENT_FIXED);
}

/* ---- doing it ---- */

static void note_error(struct guest_job *job, int error)
{
	g_autofree char *what = request_describe(&job->request);

	atomic_fetch_add(&workload_of(job)->failed_requests, 1);
	if (!workload_of(job)->faults)
		guest_fail(job->guest, g_strdup_printf("%s: %s", what, strerror(-error)));
}

static int co_perform(struct guest_job *job)
{
	struct iovec iov;

	return request_co_perform(&job->request, job->guest->structural->img,
				  guest_job_view(job, &iov));
}

static void co_read(struct guest_job *job)
{
	struct workload *workload = workload_of(job);
	const struct request *request = &job->request;
	char *wrong;
	int ret;

	memset(job->memory, 0xa5, request->bytes);
	ret = co_perform(job);
	if (ret < 0) {
		note_error(job, ret);
		return;
	}
	wrong = history_check_read(workload->history, job->since, memnode_tick(workload->node),
				   request->off, request->bytes, job->memory);
	if (wrong)
		guest_fail(job->guest,
			   g_strdup_printf("a read while the image was in use: %s", wrong));
	g_free(wrong);
}

static void co_change(struct guest_job *job)
{
	struct workload *workload = workload_of(job);
	const struct request *request = &job->request;
	uint32_t version;
	int ret;

	version = history_begin_request(workload->history, request, workload->write_back_settles,
					job->since, job->memory);
	ret = co_perform(job);
	if (!ret && workload->write_back)
		ret = image_co_write_back(job->guest->structural->img, request->off,
					  request->bytes);
	if (ret < 0)
		note_error(job, ret);
	history_end(workload->history, version, memnode_tick(workload->node), ret < 0);
}

static bool co_do_one(struct guest_job *job)
{
	struct workload *workload = workload_of(job);

	if (!job->guest->structural->img)
		return true;
	draw_request(job, &job->request);
	job->since = memnode_tick(workload->node);
	if (job->request.kind == REQUEST_READ)
		co_read(job);
	else
		co_change(job);
	job->since = 0;
	return true;
}

static bool goes_on(const struct guest_job *job, unsigned steps)
{
	return steps < workload_of(job)->ops_per_job;
}

char *workload_co_run(struct workload *workload, struct crew *crew)
{
	char *failure;

	workload->guest = (struct guest){
		.structural = workload->structural,
		.jobs = workload->jobs,
		.memory_bytes = MAX_BYTES,
		.seed = workload->seed,
		.co_step = co_do_one,
		.goes_on = goes_on,
		.arg = workload,
	};
	workload->fixed_rngs = g_new(struct rng, workload->jobs);
	for (unsigned i = 0; i < workload->jobs; i++)
		workload->fixed_rngs[i] = rng_of(workload->seed + 1, i);
	failure = guest_co_run(&workload->guest, crew);
	g_clear_pointer(&workload->fixed_rngs, g_free);
	return failure;
}
