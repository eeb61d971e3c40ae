// SPDX-License-Identifier: GPL-2.0-or-later
/* How requests are served, held and counted; see serve.h. */
#include "serve.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "aio.h"
#include "disk.h"
#include "probes.h"
#include "throttle_group.h"

static void tell_main_thread(struct serve *serve)
{
	/* It fails only if 2^64 - 2 events wait to be read, and then there is no need for another.
	 */
	eventfd_write(serve->config.event_fd, 1);
}

static void count_held(struct serve *serve, int more)
{
	uint64_t held = atomic_load_explicit(&serve->held, memory_order_relaxed);

	atomic_store_explicit(&serve->held, held + more, memory_order_relaxed);
}

/* What fails once tends to fail a thousand times, so only the first wakes the main thread. */
static void note_failure(struct serve *serve, const struct request_desc *desc, int error)
{
	struct failure failure = failure_of(desc, error);
	struct failure *noted = &serve->events.failed[failure.op];
	bool first;

	thread_lock(&serve->lock);
	first = !noted->count;
	if (first)
		*noted = failure;
	else
		noted->count++;
	thread_unlock(&serve->lock);
	if (first)
		tell_main_thread(serve);
}

/* ---- one try ---- */

unsigned serve_request_flags(const struct request_desc *desc)
{
	unsigned flags = 0;

	if (desc->fua)
		flags |= IMAGE_REQ_FUA;
	if (desc->op == REQUEST_WRITE_ZEROES && desc->may_unmap)
		flags |= IMAGE_REQ_MAY_UNMAP;
	if (desc->op == REQUEST_WRITE_ZEROES && desc->fast)
		flags |= IMAGE_REQ_NO_FALLBACK;
	return flags;
}

static int co_discard(struct image *image, const struct request_desc *desc)
{
	int res = image_co_pdiscard(image, desc->guest_off, desc->bytes);

	return res < 0 || !desc->fua ? res : image_co_flush(image);
}

int serve_co_dataless(struct image *image, const struct request_desc *desc)
{
	switch (desc->op) {
	case REQUEST_FLUSH:
		return image_co_flush(image);
	case REQUEST_DISCARD:
		return co_discard(image, desc);
	case REQUEST_WRITE_ZEROES:
		return image_co_pwrite_zeroes(image, desc->guest_off, desc->bytes,
					      serve_request_flags(desc));
	default:
		return -EOPNOTSUPP;
	}
}

static struct serve_result co_try_once(struct serve *serve,
				       int (*co_try)(void *arg, struct image *image), void *arg)
{
	struct disk *disk = serve->config.disk;
	struct image *image = disk_co_begin(disk);
	struct serve_result result = { .res = co_try(arg, image) };

	if (result.res < 0)
		result.troubles = image_troubles(image);
	disk_co_end(disk);
	return result;
}

/* ---- requests that are held ---- */

static void note_held(struct serve *serve, const struct request_desc *desc, int error)
{
	thread_lock(&serve->lock);
	serve->events.held = failure_of(desc, error);
	thread_unlock(&serve->lock);
	count_held(serve, 1);
	tell_main_thread(serve);
}

static void note_no_more_held(struct serve *serve)
{
	count_held(serve, -1);
	tell_main_thread(serve);
}

/* Whether it failed for a reason that may pass. */
static bool is_worth_a_try(const struct serve *serve, const struct request_desc *desc,
			   const struct serve_result *result)
{
	return result->res < 0 &&
	       hold_wants(serve->config.hold, desc->op, -result->res, result->troubles);
}

static bool has_limits(const struct serve *serve)
{
	return serve->config.throttle && throttle_group_has_limits(serve->config.throttle);
}

/*
 * A lack of space is noticed at once; failing storage may have taken long to say so, or the request
 * waited for its turn.
 */
static gint64 begin_of_request(const struct serve *serve)
{
	return serve->config.hold->on_error || has_limits(serve) ? g_get_monotonic_time() : 0;
}

static bool may_be_held(const struct serve *serve, gint64 age_us)
{
	return atomic_load(&serve->release) == SERVE_HOLDS &&
	       age_us < atomic_load(serve->config.hold_limit_us);
}

/* A request that has failed. */
struct failed {
	const struct request_desc *desc;
	int (*co_try)(void *arg, struct image *image);
	void *arg;
	struct serve_result result;
};

/*
 * Tries again until the request succeeds or may not be held any longer. @begin is when the first
 * try began; 0: just now. The next try must end in time even if it takes as long as the slowest so
 * far.
 */
static struct serve_result co_hold(struct serve *serve, struct failed req, gint64 begin)
{
	gint64 now = g_get_monotonic_time(), slowest = begin ? now - begin : 0, start;

	begin = now - slowest;
	note_held(serve, req.desc, -req.result.res);
	for (unsigned tries = 0; is_worth_a_try(serve, req.desc, &req.result) &&
				 may_be_held(serve, now - begin + slowest);
	     tries++) {
		co_sleep_ns(hold_pause_ns(tries));
		start = g_get_monotonic_time();
		req.result = co_try_once(serve, req.co_try, req.arg);
		now = g_get_monotonic_time();
		slowest = MAX(slowest, now - start);
	}
	note_no_more_held(serve);
	return req.result;
}

/* ---- requests that wait for their turn ---- */

struct throttled {
	const struct serve *serve;
	uint64_t end_ns;
};

/*
 * The driver must not take us for dead, and nobody waits for requests when the device is stopped or
 * handed over.
 */
static enum throttle_go look(void *arg)
{
	const struct throttled *throttled = arg;

	return atomic_load(&throttled->serve->release) != SERVE_HOLDS ||
			       aio_now_ns() >= throttled->end_ns
		       ? THROTTLE_START
		       : THROTTLE_WAIT;
}

static bool is_throttled(enum request_op op)
{
	return op != REQUEST_FLUSH && op != REQUEST_UNKNOWN;
}

static void co_throttle(const struct serve *serve, const struct request_desc *desc)
{
	struct throttled throttled = { serve, AIO_NEVER };
	gint64 limit_us;

	if (!has_limits(serve) || !is_throttled(desc->op))
		return;
	limit_us = atomic_load(serve->config.hold_limit_us);
	if (limit_us < G_MAXINT64 / 1000)
		throttled.end_ns = aio_ns_from_now(limit_us * 1000);
	throttle_group_co_wait(serve->config.throttle, desc->op != REQUEST_READ, desc->bytes,
			       look, &throttled);
}

struct serve_result serve_co_request(struct serve *serve, const struct request_desc *desc,
				     int (*co_try)(void *arg, struct image *image), void *arg)
{
	gint64 begin = begin_of_request(serve);
	struct serve_result result;

	co_throttle(serve, desc);
	UBD_PROBE(request_submit, serve, desc->op, desc->guest_off, desc->bytes);
	result = co_try_once(serve, co_try, arg);
	if (is_worth_a_try(serve, desc, &result) && may_be_held(serve, 0))
		result = co_hold(serve, (struct failed){ desc, co_try, arg, result }, begin);
	return result;
}

bool serve_leaves(const struct serve *serve, const struct request_desc *desc,
		  const struct serve_result *result)
{
	return is_worth_a_try(serve, desc, result) && atomic_load(&serve->release) == SERVE_LEAVES;
}

/* That there is no fast way is an answer. */
static bool is_failure(const struct request_desc *desc, int res)
{
	return res < 0 && !(desc->fast && res == -ENOTSUP);
}

uint64_t serve_begin(struct serve *serve, const struct request_desc *desc)
{
	UBD_PROBE(request_begin, serve, desc->op, desc->guest_off, desc->bytes);
	return counters_begin(serve->counters);
}

void serve_done(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns, int res)
{
	bool failed = is_failure(desc, res);

	UBD_PROBE(request_done, serve, desc->op, desc->guest_off, desc->bytes, res);
	counters_done(serve->counters, desc, begin_ns, failed);
	if (failed)
		note_failure(serve, desc, -res);
}

void serve_left(struct serve *serve)
{
	counters_leave(serve->counters);
}

void serve_release(struct serve *serve, enum serve_release release)
{
	atomic_store(&serve->release, release);
}

/* ---- for the main thread ---- */

void serve_init(struct serve *serve, const struct serve_config *config)
{
	*serve = (struct serve){ .config = *config, .counters = counters_new() };
	thread_lock_init(&serve->lock);
}

void serve_set_config(struct serve *serve, const struct serve_config *config)
{
	serve->config = *config;
}

void serve_destroy(struct serve *serve)
{
	thread_lock_destroy(&serve->lock);
	counters_free(serve->counters);
}

struct serve_events serve_poll(struct serve *serve)
{
	struct serve_events events;

	thread_lock(&serve->lock);
	events = serve->events;
	memset(serve->events.failed, 0, sizeof(serve->events.failed));
	thread_unlock(&serve->lock);
	return events;
}

void serve_add_stats(const struct serve *serve, struct serve_stats *sum)
{
	sum->held += atomic_load_explicit(&serve->held, memory_order_relaxed);
	sum->in_flight += counters_in_flight(serve->counters);
	for (unsigned op = 0; op < REQUEST_OPS; op++)
		counters_add(serve->counters, op, &sum->ops[op]);
}

uint64_t serve_held(const struct serve *serve)
{
	return atomic_load_explicit(&serve->held, memory_order_relaxed);
}

uint64_t serve_stats_requests(const struct serve_stats *stats)
{
	uint64_t requests = 0;

	for (unsigned op = 0; op < REQUEST_OPS; op++)
		requests += stats->ops[op].requests;
	return requests;
}

uint64_t serve_stats_failed(const struct serve_stats *stats)
{
	uint64_t failed = 0;

	for (unsigned op = 0; op < REQUEST_OPS; op++)
		failed += stats->ops[op].failed;
	return failed;
}
