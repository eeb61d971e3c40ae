// SPDX-License-Identifier: GPL-2.0-or-later
/* Jobs that use one image at once; see jobs.h. */
#include "jobs.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "stamp.h"

#define HOT_CLUSTERS  8
/* Requests whose data is in a registered buffer, of 100; some are where O_DIRECT cannot use it. */
#define PERCENT_FIXED 40
#define MISALIGNED    24

static struct job_set *set_of(const struct guest_job *job)
{
	return job->guest->arg;
}

/* ---- what to do next ---- */

static enum request_kind draw_kind(struct guest_job *job)
{
	const struct job_mix *mix = set_of(job)->mix;
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
static void draw_range(struct guest_job *job, struct request *request)
{
	const struct job_mix *mix = set_of(job)->mix;
	uint64_t size = image_size(job->guest->structural->img);
	uint64_t cluster =
		MAX(image_limits(job->guest->structural->img)->cluster_size, SECTOR_SIZE);
	bool hot = rng_percent(&job->rng, mix->percent_hot);
	uint64_t span = hot ? MIN(size, MAX(HOT_CLUSTERS * cluster, 64 * SECTOR_SIZE)) : size;
	uint64_t most = hot ? MIN(mix->max_bytes, 4 * mix->min_bytes) : mix->max_bytes;

	request->off = rng_below(&job->rng, span / mix->min_bytes) * mix->min_bytes;
	request->bytes = rng_between(&job->rng, 1, most / mix->min_bytes) * mix->min_bytes;
	if (!hot && rng_percent(&job->rng, mix->percent_in_order))
		request->off = atomic_fetch_add(&set_of(job)->in_order, request->bytes) % size;
	request->bytes = MIN(request->bytes, size - request->off);
}

/* Aligned to clusters now and then: only whole clusters are freed or become zero. */
static void align_to_clusters(struct guest_job *job, struct request *request)
{
	uint64_t cluster = image_limits(job->guest->structural->img)->cluster_size;

	if (cluster <= SECTOR_SIZE || cluster > set_of(job)->mix->max_bytes ||
	    !rng_percent(&job->rng, 50))
		return;
	request->off -= request->off % cluster;
	request->bytes = MIN(request->bytes - request->bytes % cluster + cluster,
			     image_size(job->guest->structural->img) - request->off);
	request->bytes = MIN(request->bytes, set_of(job)->mix->max_bytes);
}

static void draw_request(struct guest_job *job, struct request *request, bool *ret_reckless)
{
	*request = (struct request){ .kind = draw_kind(job) };
	*ret_reckless = request->kind == REQUEST_READ &&
			rng_percent(&job->rng, set_of(job)->mix->percent_reckless);
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
	    rng_percent(&job->rng, set_of(job)->mix->percent_compressed))
		request_compress(request, job->guest->structural->img, set_of(job)->mix->max_bytes);
	job->in_fixed = rng_percent(&job->rng, PERCENT_FIXED);
	job->shift = job->in_fixed && rng_percent(&job->rng, 10) ? MISALIGNED : 0;
}

/* ---- doing it ---- */

static void fail_request(struct guest_job *job, const char *why)
{
	g_autofree char *what = request_describe(&job->request);

	guest_fail(job->guest, g_strdup_printf("%s: %s", what, why));
}

static void prepare_buffer(struct guest_job *job, uint32_t version)
{
	const struct request *request = &job->request;

	if (request->kind == REQUEST_WRITE)
		stamp_fill(guest_job_data(job), request->off, request->bytes, version);
	else if (request->kind == REQUEST_READ)
		memset(guest_job_data(job), 0xa5, request->bytes);
}

/* All that can be said about a sector that others may be changing. NULL: it is fine. */
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

/* Records what the request changed, or checks what it read. */
static void account(struct guest_job *job, uint32_t version, bool reckless)
{
	struct model *model = set_of(job)->model;
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
		wrong = reckless ? check_reckless(request, guest_job_data(job))
				 : model_check(model, request->off, request->bytes,
					       guest_job_data(job));
		if (wrong)
			fail_request(job, wrong);
		break;
	case REQUEST_FLUSH:
		break;
	}
}

static void co_do(struct guest_job *job, bool reckless)
{
	struct job_set *set = set_of(job);
	struct image *img = job->guest->structural->img;
	uint32_t version = atomic_fetch_add_explicit(set->next_version, 1, memory_order_relaxed);
	struct iovec iov;
	int ret;

	/* Beside the requests of others, as no idle image would. */
	if (rng_below(&job->rng, 500) == 0) {
		image_begin_use(img);
		image_end_use(img);
	}
	prepare_buffer(job, version);
	job->since = g_get_monotonic_time();
	ret = request_co_perform(&job->request, img, guest_job_view(job, &iov));
	if (!ret && rng_percent(&job->rng, 2))
		ret = image_co_write_back(img, job->request.off, job->request.bytes);
	job->since = 0;
	if (ret < 0)
		fail_request(job, strerror(-ret));
	else
		account(job, version, reckless);
	atomic_fetch_add_explicit(&set->requests, 1, memory_order_relaxed);
}

/* False: others had its sectors. */
static bool co_try_one(struct guest_job *job)
{
	struct claims *claims = set_of(job)->claims;
	const struct request *request = &job->request;
	bool reckless;

	draw_request(job, &job->request, &reckless);
	if (!reckless && !try_claim(claims, request->off, request->bytes))
		return false;
	co_do(job, reckless);
	if (!reckless)
		unclaim(claims, request->off, request->bytes);
	return true;
}

static bool goes_on(const struct guest_job *job, unsigned steps)
{
	return g_get_monotonic_time() < set_of(job)->until;
}

char *jobs_co_run(struct job_set *set, struct crew *crew)
{
	set->guest = (struct guest){
		.structural = set->structural,
		.jobs = set->count,
		.memory_bytes = set->mix->max_bytes + MISALIGNED,
		.seed = set->seed,
		.co_step = co_try_one,
		.goes_on = goes_on,
		.arg = set,
	};
	set->until = g_get_monotonic_time() + set->seconds * G_TIME_SPAN_SECOND;
	return guest_co_run(&set->guest, crew);
}
