// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs that use one image at once; see jobs.h. */
#include "jobs.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "fixed.h"
#include "request.h"
#include "rng.h"
#include "stamp.h"
#include "watchdog.h"

#define HOT_CLUSTERS  8
/* Requests whose data are in a registered buffer, of 100; some where O_DIRECT cannot have them. */
#define PERCENT_FIXED 40
#define MISALIGNED    24

struct job {
	struct job_set *set;
	struct rng rng;
	uint8_t *memory; /* max_bytes and MISALIGNED */
	struct fixed_memory fixed;
	struct request request; /* the present one */
	bool in_fixed;		/* its data are in the registered buffer */
	unsigned shift;		/* where in the memory they begin */
	bool reckless;		/* a read without a claim */
	bool busy;
};

/* ---- what to do next ---- */

static enum request_kind draw_kind(struct job *job)
{
	const struct job_mix *mix = job->set->mix;
	unsigned ticket = rng_below(&job->rng, 100);

	if (ticket < mix->percent_write)
		return REQUEST_WRITE;
	ticket -= mix->percent_write;
	if (ticket < mix->percent_zero)
		return REQUEST_ZERO;
	ticket -= mix->percent_zero;
	if (ticket < mix->percent_discard)
		return REQUEST_DISCARD;
	ticket -= mix->percent_discard;
	return ticket < mix->percent_flush ? REQUEST_FLUSH : REQUEST_READ;
}

/* Hot requests are short, so that many of them fit into one cluster. */
static void draw_range(struct job *job, struct request *request)
{
	const struct job_mix *mix = job->set->mix;
	uint64_t size = image_size(job->set->structural->img);
	uint64_t cluster = MAX(image_limits(job->set->structural->img)->cluster_size, SECTOR_SIZE);
	bool hot = rng_percent(&job->rng, mix->percent_hot);
	uint64_t span = hot ? MIN(size, MAX(HOT_CLUSTERS * cluster, 64 * SECTOR_SIZE)) : size;
	uint64_t most = hot ? MIN(mix->max_bytes, 4 * mix->min_bytes) : mix->max_bytes;

	request->off = rng_below(&job->rng, span / mix->min_bytes) * mix->min_bytes;
	request->bytes = rng_between(&job->rng, 1, most / mix->min_bytes) * mix->min_bytes;
	request->bytes = MIN(request->bytes, size - request->off);
}

/* On whole clusters now and then: only those are freed or become zero. */
static void align_to_clusters(struct job *job, struct request *request)
{
	uint64_t cluster = image_limits(job->set->structural->img)->cluster_size;

	if (cluster <= SECTOR_SIZE || cluster > job->set->mix->max_bytes ||
	    !rng_percent(&job->rng, 50))
		return;
	request->off -= request->off % cluster;
	request->bytes = MIN(request->bytes - request->bytes % cluster + cluster,
			     image_size(job->set->structural->img) - request->off);
	request->bytes = MIN(request->bytes, job->set->mix->max_bytes);
}

static uint8_t *data(const struct job *job)
{
	return job->memory + job->shift;
}

static void draw_request(struct job *job, struct request *request)
{
	*request = (struct request){ .kind = draw_kind(job) };
	job->reckless = request->kind == REQUEST_READ &&
			rng_percent(&job->rng, job->set->mix->percent_reckless);
	if (request->kind == REQUEST_FLUSH)
		return;
	draw_range(job, request);
	if (request->kind == REQUEST_ZERO || request->kind == REQUEST_DISCARD)
		align_to_clusters(job, request);
	if (request->kind == REQUEST_ZERO && rng_percent(&job->rng, 50))
		request->flags |= IMAGE_REQ_MAY_UNMAP;
	if (request->kind == REQUEST_WRITE && rng_percent(&job->rng, 1))
		request->flags |= IMAGE_REQ_FUA;
	if (request->kind == REQUEST_WRITE &&
	    rng_percent(&job->rng, job->set->mix->percent_compressed))
		request_compress(request, job->set->structural->img, job->set->mix->max_bytes);
	job->in_fixed = rng_percent(&job->rng, PERCENT_FIXED);
	job->shift = job->in_fixed && rng_percent(&job->rng, 10) ? MISALIGNED : 0;
}

/* ---- doing it ---- */

/* Takes over @failure. */
static void fail(struct job_set *set, char *failure)
{
	thread_lock(&set->lock);
	if (!set->failure)
		set->failure = g_steal_pointer(&failure);
	thread_unlock(&set->lock);
	g_free(failure);
	atomic_store(&set->stop, true);
}

static void fail_request(struct job *job, const char *why)
{
	g_autofree char *what = request_describe(&job->request);

	fail(job->set, g_strdup_printf("%s: %s", what, why));
}

static void prepare_buffer(struct job *job, uint32_t version)
{
	const struct request *request = &job->request;

	if (request->kind == REQUEST_WRITE)
		stamp_fill(data(job), request->off, request->bytes, version);
	else if (request->kind == REQUEST_READ)
		memset(data(job), 0xa5, request->bytes);
}

/* All that can be said of a sector that others may be changing. NULL: it is fine. */
static char *check_reckless(const struct request *request, const uint8_t *buf)
{
	uint32_t version;

	for (uint64_t done = 0; done < request->bytes; done += SECTOR_SIZE) {
		uint64_t off = request->off + done;
		g_autofree char *found = NULL;

		if (stamp_parse(buf + done, off, &version))
			continue;
		found = stamp_describe(buf + done);
		return g_strdup_printf("sector %u (%#" G_GINT64_MODIFIER "x) holds %s",
				       (unsigned)(off / SECTOR_SIZE), off, found);
	}
	return NULL;
}

/* What the request changed, or showed. */
static void account(struct job *job, uint32_t version)
{
	struct model *model = job->set->model;
	const struct request *request = &job->request;
	g_autofree char *wrong = NULL;

	switch (request->kind) {
	case REQUEST_WRITE:
		model_written(model, request->off, request->bytes, version);
		break;
	case REQUEST_ZERO:
		model_written(model, request->off, request->bytes, VERSION_ZERO);
		break;
	case REQUEST_DISCARD:
		model_discarded(model, request->off, request->bytes);
		break;
	case REQUEST_READ:
		wrong = job->reckless ? check_reckless(request, data(job))
				      : model_check(model, request->off, request->bytes, data(job));
		if (wrong)
			fail_request(job, wrong);
		break;
	case REQUEST_FLUSH:
		break;
	}
}

static void co_do(struct job *job)
{
	struct job_set *set = job->set;
	uint32_t version = atomic_fetch_add_explicit(set->next_version, 1, memory_order_relaxed);
	struct iovec iov;
	struct iobuf mem = job->in_fixed ? iobuf_advance(fixed_memory_view(&job->fixed), job->shift)
					 : IOBUF(&iov, data(job), job->request.bytes);
	int ret;

	prepare_buffer(job, version);
	job->busy = true;
	ret = request_co_perform(&job->request, set->structural->img, mem);
	if (!ret && rng_percent(&job->rng, 2))
		ret = image_co_write_back(set->structural->img);
	job->busy = false;
	if (ret < 0)
		fail_request(job, strerror(-ret));
	else
		account(job, version);
	atomic_fetch_add_explicit(&set->requests, 1, memory_order_relaxed);
	watchdog_kick();
}

/* Size and image stay as they are during a request. False: others had its sectors. */
static bool co_try_one(struct job *job)
{
	struct job_set *set = job->set;
	const struct request *request = &job->request;
	bool done = true;

	co_rwlock_rdlock(&set->structural->lock);
	draw_request(job, &job->request);
	if (job->reckless) {
		co_do(job);
	} else if (try_claim(set->claims, request->off, request->bytes)) {
		co_do(job);
		unclaim(set->claims, request->off, request->bytes);
	} else {
		done = false;
	}
	co_rwlock_rdunlock(&set->structural->lock);
	return done;
}

static void guest_co(struct job *job)
{
	struct job_set *set = job->set;

	fixed_memory_init(&job->fixed, job - set->jobs, job->memory,
			  set->mix->max_bytes + MISALIGNED);
	while (!atomic_load(&set->stop) && g_get_monotonic_time() < set->until) {
		if (!co_try_one(job))
			co_reschedule();
	}
	fixed_memory_destroy(&job->fixed);
	if (atomic_fetch_sub(&set->jobs_left, 1) == 1)
		atomic_store(&set->jobs_done, true);
}

static void structural_co(struct job_set *set)
{
	char *failure = structural_co_run(set->structural, &set->jobs_done);

	if (failure)
		fail(set, failure);
}

/* The one after the guest's is for structural operations. */
static void job_co(void *arg)
{
	struct job *job = arg;

	if (job == &job->set->jobs[job->set->count])
		structural_co(job->set);
	else
		guest_co(job);
}

static struct job *new_jobs(struct job_set *set)
{
	struct job *jobs = g_new0(struct job, set->count + 1);

	for (unsigned i = 0; i <= set->count; i++) {
		jobs[i].set = set;
		jobs[i].rng = rng_of(set->seed, i);
		jobs[i].memory = try_iobuf_alloc(set->mix->max_bytes + MISALIGNED);
	}
	return jobs;
}

static void free_jobs(struct job_set *set)
{
	struct job *jobs = g_steal_pointer(&set->jobs);

	for (unsigned i = 0; i <= set->count; i++)
		iobuf_free(jobs[i].memory);
	g_free(jobs);
}

char *jobs_co_run(struct job_set *set, struct crew *crew)
{
	g_autofree void **args = g_new(void *, set->count + 1);

	thread_lock_init(&set->lock);
	set->until = g_get_monotonic_time() + set->seconds * G_TIME_SPAN_SECOND;
	set->jobs_left = set->count;
	set->jobs = new_jobs(set);
	for (unsigned i = 0; i <= set->count; i++)
		args[i] = &set->jobs[i];
	crew_co_run_all(crew, job_co, args, set->count + 1);
	free_jobs(set);
	thread_lock_destroy(&set->lock);
	return g_steal_pointer(&set->failure);
}

void jobs_dump(struct job_set *set)
{
	if (set->structural)
		structural_dump(set->structural);
	for (unsigned i = 0; set->jobs && i < set->count; i++) {
		g_autofree char *what = request_describe(&set->jobs[i].request);

		if (set->jobs[i].busy)
			fprintf(stderr, "job %u: %s\n", i, what);
	}
}
