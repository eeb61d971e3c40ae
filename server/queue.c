// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Queue threads and requests.
 *
 * A request takes this path: the driver hands one over for a tag (fetch.h), a coroutine calls the
 * image (serve.h), request_complete() returns the result. That function is the only one that ends a
 * request. A request that is held holds no lock of the image and no memory but the tag's.
 *
 * Memory. Nothing here allocates any once the thread has begun. The stacks of RESERVED_REQUESTS
 * requests have memory from the start, and so have buffers for what these need (data.h); further
 * requests wait until one of them ends, or until the grower (grower.h), which may have to wait for
 * memory, has made more stacks. Those are given back when the queue is idle. Only requests that are
 * larger than any that the driver sends by itself get memory of their own (fetch_nbd.c).
 */
#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "aio.h"
#include "container_of.h"
#include "data.h"
#include "disk.h"
#include "error.h"
#include "fetch.h"
#include "grower.h"
#include "process.h"
#include "pulse.h"

/* So many requests can always be served at once. */
#define RESERVED_REQUESTS 8u
/* Other coroutines: the pulse, the image's reclaimer, a step of growing its file ahead. */
#define OTHER_COROUTINES  3u

struct request {
	struct queue *queue;
	struct request *next; /* of those that have not begun */
	uint16_t tag;
	uint64_t begin_ns;
	struct request_desc desc; /* valid while the request is ours, as begin_ns is */
};

enum queue_state {
	QUEUE_STARTING,
	QUEUE_READY, /* the driver has been asked for requests on every tag */
	QUEUE_ENDED,
};

/* What the pulse has to do, because others want it. */
struct news {
	bool abandons;
	bool shrinks;
	bool data_has_grown;
	unsigned nr_stacks; /* queue.stacks: new ones */
};

struct queue {
	struct queue_config config;
	cpu_set_t cpus; /* what config.cpus points to */
	struct aio_loop *loop;
	struct data_path *data;
	struct fetch *fetch;
	struct request *requests;
	struct request *fetched, **fetched_end; /* have not begun */
	unsigned nr_fetched;			/* of them */
	unsigned starting, serving;		/* coroutines for requests, and those that run */
	unsigned asked_stacks;			/* that have not come */
	bool is_watched;			/* the grower notices when it is idle */
	bool uses_disk;				/* disk_co_begin_use() */
	struct aio_op ready_op;
	struct serve serve;

	pthread_t thread;
	bool thread_started;
	struct thread_lock lock;
	pthread_cond_t state_changed;
	enum queue_state state GUARDED_BY(lock);
	struct news news GUARDED_BY(lock);
	struct coroutine **stacks;		 /* the first news.nr_stacks */
	unsigned wanted_stacks GUARDED_BY(lock); /* for the grower */
	bool wants_data GUARDED_BY(lock);	 /* likewise */

	struct pulse pulse;
	struct growing growing;
	uint64_t idle_requests; /* the grower's: how many had been served when it last looked */

	_Atomic int broken;  /* the first -errno; 0: none */
	_Atomic bool ending; /* no more requests will come */
};

static void queue_set_state(struct queue *queue, enum queue_state state)
{
	thread_lock(&queue->lock);
	queue->state = state;
	pthread_cond_signal(&queue->state_changed);
	thread_unlock(&queue->lock);
}

static void tell_main_thread(struct queue *queue)
{
	/* It fails only if 2^64 - 2 events wait to be read, and then there is no need for another.
	 */
	eventfd_write(queue->config.event_fd, 1);
}

static void tell_broken(struct queue *queue, int error)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&queue->broken, &none, error))
		tell_main_thread(queue);
}

/* ---- requests ---- */

/* Ends a request, and asks for the tag's next one. */
static void request_complete(struct request *req, const struct serve_result *result)
{
	struct queue *queue = req->queue;
	int res = result->res;

	serve_done(&queue->serve, &req->desc, req->begin_ns, res);
	/* The driver remembers the loss for later servers. */
	if (res < 0 && result->troubles & IMAGE_TROUBLE_LOST)
		res = queue->config.driver->result_lost;
	fetch_answer(queue->fetch, req->tag, res);
}

/* The main thread lets go of the requests that are held. */
static void queue_ending(void *arg)
{
	struct queue *queue = arg;

	atomic_store(&queue->ending, true);
	tell_main_thread(queue);
}

static void queue_over(void *arg)
{
	struct queue *queue = arg;

	pulse_end(&queue->pulse);
}

/*
 * If the device outlives its server, its users do not notice that this process dies. Data that they
 * were told is written must not be lost with our memory.
 */
static int request_settle(struct request *req, struct image *image, int res)
{
	if (res < 0 || !req->queue->config.outlived)
		return res;
	return image_co_write_back(image, req->desc.guest_off, req->desc.bytes);
}

static int request_write(struct request *req, struct image *image)
{
	const struct request_desc *desc = &req->desc;
	int res = data_co_write(req->queue->data, req->tag, desc, image, serve_request_flags(desc));

	res = request_settle(req, image, res);
	return res < 0 ? res : (int)desc->bytes;
}

/* Bytes done, 0, or -errno. */
static int request_try(void *arg, struct image *image)
{
	struct request *req = arg;
	const struct request_desc *desc = &req->desc;
	int res;

	switch (desc->op) {
	case REQUEST_READ:
		res = data_co_read(req->queue->data, req->tag, desc, image);
		return res < 0 ? res : (int)desc->bytes;
	case REQUEST_WRITE:
		return request_write(req, image);
	case REQUEST_WRITE_ZEROES:
		return request_settle(req, image, serve_co_dataless(image, desc));
	default:
		return serve_co_dataless(image, desc);
	}
}

static void co_serve_one(struct request *req)
{
	struct queue *queue = req->queue;
	struct serve_result result;

	serve_co_wait_turn(&queue->serve, &req->desc, req->begin_ns);
	result = serve_co_request(&queue->serve, &req->desc, req->begin_ns, request_try, req);
	if (serve_leaves(&queue->serve, &req->desc, &result)) {
		serve_left(&queue->serve);
		fetch_leave(queue->fetch, req->tag);
	} else {
		request_complete(req, &result);
	}
}

static void request_fetched(void *arg, uint16_t tag, const struct request_desc *desc)
{
	struct queue *queue = arg;
	struct request *req = &queue->requests[tag];

	req->desc = *desc;
	req->begin_ns = serve_begin(&queue->serve, desc);
	req->next = NULL;
	*queue->fetched_end = req;
	queue->fetched_end = &req->next;
	queue->nr_fetched++;
	if (!queue->is_watched)
		grower_ask(&queue->growing);
	queue->is_watched = true;
}

static struct request *take_fetched(struct queue *queue)
{
	struct request *req = queue->fetched;

	if (!req)
		return NULL;
	queue->fetched = req->next;
	if (!queue->fetched)
		queue->fetched_end = &queue->fetched;
	queue->nr_fetched--;
	return req;
}

/* One coroutine serves all requests that have come together, up to the first that has to wait. */
static void serve_fetched_co(void *arg)
{
	struct queue *queue = arg;
	struct request *req;

	queue->starting--;
	queue->serving++;
	if (!queue->uses_disk) {
		queue->uses_disk = true;
		disk_co_begin_use(queue->config.disk);
	}
	while ((req = take_fetched(queue)))
		co_serve_one(req);
	queue->serving--;
}

/* Requests for which there is no coroutine yet. */
static unsigned nr_waiting(const struct queue *queue)
{
	return queue->nr_fetched - MIN(queue->starting, queue->nr_fetched);
}

static void ask_for_stacks(struct queue *queue)
{
	unsigned more = nr_waiting(queue) - MIN(queue->asked_stacks, nr_waiting(queue));

	if (!more)
		return;
	queue->asked_stacks += more;
	thread_lock(&queue->lock);
	queue->wanted_stacks += more;
	thread_unlock(&queue->lock);
	grower_ask(&queue->growing);
}

/*
 * The pulse has its own, and the other coroutines must find theirs. If these have taken all, a
 * request gets one nevertheless: nobody but a request begins those that wait.
 */
static bool has_stack(const struct queue *queue)
{
	return co_spare() >= OTHER_COROUTINES || (!queue->serving && !queue->starting);
}

/* A coroutine that has to wait leaves the rest to the next one. */
static void begin_fetched(void *arg)
{
	struct queue *queue = arg;

	while (nr_waiting(queue) && has_stack(queue)) {
		queue->starting++;
		co_start(serve_fetched_co, queue);
	}
	if (nr_waiting(queue))
		ask_for_stacks(queue);
}

static void command_refused(void *arg, int error)
{
	tell_broken(arg, error);
}

static const struct fetch_events fetch_events = {
	.request = request_fetched,
	.begin = begin_fetched,
	.refused = command_refused,
	.ending = queue_ending,
	.over = queue_over,
};

/* ---- the thread ---- */

static void queue_ready(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct queue *queue = container_of(op, struct queue, ready_op);
	int error = process_drop_privileges();

	if (error < 0)
		tell_broken(queue, error);
	queue_set_state(queue, QUEUE_READY);
}

/* A new stack; NULL: there is none. Any thread. */
static struct coroutine *take_stack(struct queue *queue)
{
	struct coroutine *stack = NULL;

	thread_lock(&queue->lock);
	if (queue->news.nr_stacks)
		stack = queue->stacks[--queue->news.nr_stacks];
	thread_unlock(&queue->lock);
	return stack;
}

static void take_stacks(struct queue *queue)
{
	struct coroutine *stack;

	while ((stack = take_stack(queue))) {
		co_stack_put(stack);
		queue->asked_stacks--;
	}
}

/* The pulse must not wait for the disk. */
static void end_use_co(void *arg)
{
	struct queue *queue = arg;

	disk_co_end_use(queue->config.disk);
	aio_loop_release(queue->loop);
}

static void shrink(struct queue *queue)
{
	queue->is_watched = false;
	co_give_back();
	data_give_back(queue->data);
	if (!queue->uses_disk)
		return;
	queue->uses_disk = false;
	aio_loop_hold(queue->loop);
	co_start(end_use_co, queue);
}

static bool is_news(const struct news *news)
{
	return news->abandons || news->shrinks || news->data_has_grown || news->nr_stacks;
}

static void act_on(struct queue *queue, const struct news *news)
{
	if (news->abandons)
		fetch_abandon(queue->fetch);
	if (news->data_has_grown)
		data_grown(queue->data);
	if (news->shrinks)
		shrink(queue);
}

/* What other threads want of the queue. */
static void queue_beat(void *arg)
{
	struct queue *queue = arg;
	struct news news;

	thread_lock(&queue->lock);
	news = queue->news;
	queue->news = (struct news){ .nr_stacks = news.nr_stacks };
	thread_unlock(&queue->lock);
	if (!is_news(&news))
		return;
	take_stacks(queue);
	act_on(queue, &news);
	begin_fetched(queue);
}

/* When no more requests will come, it stops the loop. */
static void queue_pulse_co(void *arg)
{
	struct queue *queue = arg;

	pulse_co(&queue->pulse);
	/* The counters of this turn are still to be written; nobody frees them before. */
	co_turn();
	aio_loop_stop(queue->loop);
}

/*
 * A ring starts its commands in order, and refused ones complete at once. When the NOP after them
 * completes, every refusal is known.
 */
static void fetch_all_co(void *arg)
{
	struct queue *queue = arg;
	struct io_uring_sqe *sqe;

	co_start(queue_pulse_co, queue);
	fetch_begin(queue->fetch);
	sqe = aio_get_sqe(queue->loop);
	io_uring_prep_nop(sqe);
	queue->ready_op.done = queue_ready;
	aio_sqe_set_op(sqe, &queue->ready_op);
}

static int queue_thread_prepare(struct queue *queue)
{
	char name[16];
	int res;

	snprintf(name, sizeof(name), "ubd-queue-%u", queue->config.q_id);
	pthread_setname_np(pthread_self(), name);
	/*
	 * This fails if a cpuset denies us the CPUs or they are gone; the queue works elsewhere,
	 * too. It comes before the buffers are touched, so that they are allocated nearby.
	 */
	if (queue->config.cpus)
		pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), queue->config.cpus);
	process_touch_stack();
	res = data_allocate(queue->data);
	if (res < 0)
		return res;
	res = co_reserve(MIN(queue->config.depth, RESERVED_REQUESTS) + OTHER_COROUTINES);
	co_touch();
	co_keep(queue->config.depth + OTHER_COROUTINES);
	return res;
}

static void *queue_thread(void *arg)
{
	struct queue *queue = arg;
	int res = queue_thread_prepare(queue);

	if (res < 0) {
		tell_broken(queue, res);
	} else {
		co_start_on(queue->loop, fetch_all_co, queue);
		aio_loop_run(queue->loop);
	}
	queue_set_state(queue, QUEUE_ENDED);
	tell_main_thread(queue);
	return NULL;
}

/* ---- for the grower ---- */

static void tell_of_stack(struct queue *queue, struct coroutine *stack)
{
	thread_lock(&queue->lock);
	queue->stacks[queue->news.nr_stacks++] = stack;
	thread_unlock(&queue->lock);
	pulse_wake(&queue->pulse);
}

static void grow_data(struct queue *queue)
{
	data_grow(queue->data);
	thread_lock(&queue->lock);
	queue->news.data_has_grown = true;
	thread_unlock(&queue->lock);
	pulse_wake(&queue->pulse);
}

/* One by one: the first may be all that there is memory for. Returns how many there are not. */
static unsigned grow_stacks(struct queue *queue, unsigned stacks)
{
	struct coroutine *stack;

	while (stacks && (stack = co_stack_new())) {
		tell_of_stack(queue, stack);
		stacks--;
	}
	return stacks;
}

static bool queue_grow(void *arg)
{
	struct queue *queue = arg;
	unsigned stacks;
	bool data;

	thread_lock(&queue->lock);
	stacks = queue->wanted_stacks;
	data = queue->wants_data;
	queue->wanted_stacks = 0;
	queue->wants_data = false;
	thread_unlock(&queue->lock);
	/* So that the memory is near the queue's CPUs. */
	if (queue->config.cpus)
		pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), queue->config.cpus);
	stacks = grow_stacks(queue, stacks);
	if (data)
		grow_data(queue);
	thread_lock(&queue->lock);
	queue->wanted_stacks += stacks;
	thread_unlock(&queue->lock);
	return !stacks;
}

static bool queue_is_idle(void *arg)
{
	struct queue *queue = arg;
	struct serve_stats stats = { 0 };
	uint64_t requests;
	bool is_idle;

	serve_add_stats(&queue->serve, &stats);
	requests = serve_stats_requests(&stats);
	is_idle = requests == queue->idle_requests && !fetch_requests(queue->fetch);
	queue->idle_requests = requests;
	return is_idle;
}

static void queue_shrink(void *arg)
{
	struct queue *queue = arg;
	thread_lock(&queue->lock);
	queue->news.shrinks = true;
	thread_unlock(&queue->lock);
	pulse_wake(&queue->pulse);
}

static const struct growing_ops growing_ops = {
	.grow = queue_grow,
	.is_idle = queue_is_idle,
	.shrink = queue_shrink,
};

/* On the queue's thread. */
static void ask_for_data(void *arg)
{
	struct queue *queue = arg;

	thread_lock(&queue->lock);
	queue->wants_data = true;
	thread_unlock(&queue->lock);
	grower_ask(&queue->growing);
}

/* ---- for the main thread ---- */

/* Enough that a turn in which every tag commits and does I/O needs one system call. */
static unsigned ring_entries(uint16_t depth)
{
	unsigned entries = 64;

	while (entries < 2u * depth)
		entries *= 2;
	return entries;
}

static struct request *new_requests(struct queue *queue)
{
	struct request *requests = g_new(struct request, queue->config.depth);

	for (unsigned tag = 0; tag < queue->config.depth; tag++)
		requests[tag] = (struct request){ .queue = queue, .tag = tag };
	return requests;
}

static struct data_path *new_data(struct queue *queue, GError **err)
{
	const struct data_config config = {
		.driver = queue->config.driver,
		.way = queue->config.data,
		.char_fd = queue->config.char_fd,
		.q_id = queue->config.q_id,
		.depth = queue->config.depth,
		.max_io_bytes = queue->config.max_io_bytes,
		.ask_more = ask_for_data,
		.arg = queue,
	};

	return data_new(&config, queue->loop, err);
}

static struct fetch *new_fetch(struct queue *queue, GError **err)
{
	const struct fetch_config config = {
		.driver = queue->config.driver,
		.batches = queue->config.batches,
		.way = queue->config.data,
		.char_fd = queue->config.char_fd,
		.q_id = queue->config.q_id,
		.depth = queue->config.depth,
		.max_io_bytes = queue->config.max_io_bytes,
		.loop = queue->loop,
		.data = queue->data,
		.events = &fetch_events,
		.arg = queue,
	};

	return fetch_new(&config, err);
}

struct queue *queue_new(const struct queue_config *config, GError **err)
{
	struct queue *queue = g_new0(struct queue, 1);
	int res;

	queue->config = *config;
	if (config->cpus) {
		queue->cpus = *config->cpus;
		queue->config.cpus = &queue->cpus;
	}
	serve_init(&queue->serve, &(struct serve_config){ .disk = config->disk,
							  .hold = config->hold,
							  .limits = config->limits,
							  .event_fd = config->event_fd,
							  .throttle = config->throttle });
	queue->requests = new_requests(queue);
	queue->fetched_end = &queue->fetched;
	queue->stacks = g_new(struct coroutine *, config->depth);
	queue->growing = (struct growing){ .ops = &growing_ops, .arg = queue };
	queue->pulse = (struct pulse){ .beat = queue_beat, .arg = queue };
	thread_lock_init(&queue->pulse.lock);
	thread_lock_init(&queue->lock);
	pthread_cond_init(&queue->state_changed, NULL);

	queue->loop = aio_loop_new(ring_entries(config->depth), err);
	if (queue->loop)
		queue->data = new_data(queue, err);
	if (queue->data)
		queue->fetch = new_fetch(queue, err);
	if (!queue->fetch)
		goto fail;
	res = grower_add(&queue->growing);
	if (!res)
		res = -pthread_create(&queue->thread, NULL, queue_thread, queue);
	if (res < 0) {
		error_set(err, res, "queue %u", config->q_id);
		goto fail;
	}
	queue->thread_started = true;
	return queue;
fail:
	queue_free(queue);
	return NULL;
}

int queue_wait_ready(struct queue *queue, GError **err)
{
	int res;

	thread_lock(&queue->lock);
	while (queue->state == QUEUE_STARTING)
		pthread_cond_wait(&queue->state_changed, &queue->lock.mutex);
	thread_unlock(&queue->lock);
	res = atomic_load(&queue->broken);
	if (res < 0)
		error_set(err, res, "queue %u: cannot start", queue->config.q_id);
	return res;
}

struct queue_events queue_poll(struct queue *queue)
{
	struct queue_events events = { .broken = atomic_load(&queue->broken) };

	thread_lock(&queue->lock);
	events.ended = queue->state == QUEUE_ENDED;
	thread_unlock(&queue->lock);
	events.ended |= atomic_load(&queue->ending);
	events.served = serve_poll(&queue->serve);
	return events;
}

void queue_add_stats(const struct queue *queue, struct serve_stats *sum)
{
	struct data_stats data = data_stats(queue->data);

	serve_add_stats(&queue->serve, sum);
	sum->zero_copy += data.zero_copy;
	sum->copied += data.copied;
}

uint64_t queue_held(const struct queue *queue)
{
	return serve_held(&queue->serve);
}

unsigned queue_requests(const struct queue *queue)
{
	return fetch_requests(queue->fetch);
}

void queue_release_held(struct queue *queue, enum serve_release release)
{
	serve_release(&queue->serve, release);
	serve_set_turns(&queue->serve, SERVE_HURRIES);
}

void queue_abandon(struct queue *queue)
{
	thread_lock(&queue->lock);
	queue->news.abandons = true;
	thread_unlock(&queue->lock);
	pulse_wake(&queue->pulse);
}

bool queue_is_alive(struct queue *queue)
{
	return pulse_is_alive(&queue->pulse);
}

void queue_wait(struct queue *queue)
{
	if (queue->thread_started)
		pthread_join(queue->thread, NULL);
	queue->thread_started = false;
}

void queue_free(struct queue *queue)
{
	struct coroutine *stack;

	if (!queue)
		return;
	if (queue->thread_started)
		queue_wait(queue);
	grower_remove(&queue->growing);
	while ((stack = take_stack(queue)))
		co_stack_free(stack);
	aio_loop_free(queue->loop);
	fetch_free(queue->fetch);
	data_free(queue->data);
	serve_destroy(&queue->serve);
	thread_lock_destroy(&queue->lock);
	thread_lock_destroy(&queue->pulse.lock);
	pthread_cond_destroy(&queue->state_changed);
	g_free(queue->requests);
	g_free(queue->stacks);
	g_free(queue);
}
