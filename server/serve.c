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

#define NS_PER_US     1000
/* How often to look whether the image has been opened. */
#define IMAGE_POLL_NS (5 * 1000 * 1000)

static void tell_main_thread(struct serve *serve)
{
	/* It fails only if 2^64 - 2 events wait to be read, and then there is no need for another.
	 */
	eventfd_write(serve->config.event_fd, 1);
}

/* Of a counter that only the caller's thread writes. */
static void add(_Atomic uint64_t *counter, int more)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + more, memory_order_relaxed);
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
	add(&serve->held, 1);
	tell_main_thread(serve);
}

static void note_no_more_held(struct serve *serve)
{
	add(&serve->held, -1);
	tell_main_thread(serve);
}

/* Whether it failed for a reason that may pass. */
static bool is_worth_a_try(const struct serve *serve, const struct request_desc *desc,
			   const struct serve_result *result)
{
	return result->res < 0 &&
	       hold_wants(serve->config.hold, desc->op, -result->res, result->troubles);
}

/* Times are from its first try, and from when it came. */
static bool may_be_held(const struct serve *serve, uint64_t held_ns, uint64_t all_ns)
{
	const struct request_limits *limits = serve->config.limits;

	return atomic_load(&serve->release) == SERVE_HOLDS &&
	       (gint64)(held_ns / NS_PER_US) < atomic_load(&limits->held_us) &&
	       (gint64)(all_ns / NS_PER_US) < atomic_load(&limits->all_us);
}

/* A request that has failed. */
struct failed {
	const struct request_desc *desc;
	int (*co_try)(void *arg, struct image *image);
	void *arg;
	struct serve_result result;
};

/*
 * Tries again until the request succeeds or may not be held any longer. @begin_ns: it came,
 * @try_ns: its first try began. The next try must end in time even if it takes as long as the
 * slowest so far.
 */
static struct serve_result co_hold(struct serve *serve, struct failed req, uint64_t begin_ns,
				   uint64_t try_ns)
{
	uint64_t now = aio_now_ns(), slowest = now - try_ns, start;

	note_held(serve, req.desc, -req.result.res);
	for (unsigned tries = 0;
	     is_worth_a_try(serve, req.desc, &req.result) &&
	     may_be_held(serve, now - try_ns + slowest, now - begin_ns + slowest);
	     tries++) {
		co_sleep_ns(hold_pause_ns(tries));
		start = aio_now_ns();
		req.result = co_try_once(serve, req.co_try, req.arg);
		now = aio_now_ns();
		slowest = MAX(slowest, now - start);
	}
	note_no_more_held(serve);
	return req.result;
}

struct serve_result serve_co_request(struct serve *serve, const struct request_desc *desc,
				     uint64_t begin_ns,
				     int (*co_try)(void *arg, struct image *image), void *arg)
{
	uint64_t try_ns = serve->config.hold->on_error ? aio_now_ns() : 0;
	struct serve_result result = co_try_once(serve, co_try, arg);

	if (!is_worth_a_try(serve, desc, &result) ||
	    !may_be_held(serve, 0, aio_now_ns() - begin_ns))
		return result;
	/* A lack of space is noticed at once; failing storage may have taken long to say so. */
	return co_hold(serve, (struct failed){ desc, co_try, arg, result }, begin_ns,
		       try_ns ?: aio_now_ns());
}

/* ---- requests that wait for their turn ---- */

bool serve_co_wait_image(const struct serve *serve)
{
	while (!disk_has_image(serve->config.disk)) {
		if (atomic_load(&serve->release) != SERVE_HOLDS)
			return false;
		co_sleep_ns(IMAGE_POLL_NS);
	}
	return true;
}

struct waiting {
	struct serve *serve;
	uint64_t end_ns; /* the driver must not take us for dead */
	unsigned looks;
};

/* A device may be stopped meanwhile, of which only the main thread can know. */
static void note_late(struct serve *serve)
{
	add(&serve->late, 1);
	tell_main_thread(serve);
}

static enum throttle_go look(void *arg)
{
	struct waiting *waiting = arg;

	if (++waiting->looks == 2)
		note_late(waiting->serve);
	switch (atomic_load(&waiting->serve->turns)) {
	case SERVE_HURRIES:
		return THROTTLE_START;
	case SERVE_DROPS:
		return THROTTLE_GIVE_UP;
	default:
		return aio_now_ns() >= waiting->end_ns ? THROTTLE_START : THROTTLE_WAIT;
	}
}

/* Those that the server's user has set, and those of a node at the top. */
struct limits {
	struct throttle_group *groups[2];
};

static struct limits limits_for(const struct serve *serve, enum request_op op)
{
	struct limits limits = { { serve->config.throttle, disk_throttle(serve->config.disk) } };

	/* A request counts only once. */
	if (limits.groups[1] == limits.groups[0])
		limits.groups[1] = NULL;
	for (unsigned i = 0; i < G_N_ELEMENTS(limits.groups); i++)
		if (op == REQUEST_FLUSH || op == REQUEST_UNKNOWN ||
		    (limits.groups[i] && !throttle_group_has_limits(limits.groups[i])))
			limits.groups[i] = NULL;
	return limits;
}

static bool co_throttle(struct serve *serve, const struct limits *limits,
			const struct request_desc *desc, uint64_t begin_ns)
{
	gint64 limit_us = atomic_load(&serve->config.limits->all_us);
	bool is_write = desc->op != REQUEST_READ, starts = true;
	struct co_mutex *next = is_write ? &serve->next_write : &serve->next_read;
	struct waiting waiting = { .serve = serve, .end_ns = AIO_NEVER };

	if (limit_us < G_MAXINT64 / NS_PER_US)
		waiting.end_ns = begin_ns + limit_us * NS_PER_US;
	co_mutex_lock(next);
	for (unsigned i = 0; i < G_N_ELEMENTS(limits->groups) && starts; i++)
		if (limits->groups[i])
			starts = throttle_group_co_wait(limits->groups[i], is_write, desc->bytes,
							look, &waiting);
	co_mutex_unlock(next);
	if (waiting.looks >= 2)
		add(&serve->late, -1);
	return starts;
}

int serve_co_wait_turn(struct serve *serve, const struct request_desc *desc, uint64_t begin_ns)
{
	const struct limits limits = limits_for(serve, desc->op);

	if ((limits.groups[0] || limits.groups[1]) && !co_throttle(serve, &limits, desc, begin_ns))
		return -ESHUTDOWN;
	UBD_PROBE(request_submit, serve, desc->op, desc->guest_off, desc->bytes);
	return 0;
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

void serve_set_turns(struct serve *serve, enum serve_turns turns)
{
	atomic_store(&serve->turns, turns);
}

/* ---- for the main thread ---- */

void serve_init(struct serve *serve, const struct serve_config *config)
{
	*serve = (struct serve){ .config = *config, .counters = counters_new() };
	thread_lock_init(&serve->lock);
	co_mutex_init(&serve->next_read);
	co_mutex_init(&serve->next_write);
}

void serve_set_config(struct serve *serve, const struct serve_config *config)
{
	serve->config = *config;
}

void serve_destroy(struct serve *serve)
{
	co_mutex_destroy(&serve->next_write);
	co_mutex_destroy(&serve->next_read);
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

uint64_t serve_late(const struct serve *serve)
{
	return atomic_load_explicit(&serve->late, memory_order_relaxed);
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
