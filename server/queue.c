// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Queues and their requests.
 *
 * A request takes this path: the driver hands one over for a tag (fetch.h), a coroutine of the
 * queue's thread (queue_thread.h) calls the image (serve.h), request_complete() returns the result.
 * That function is the only one that ends a request. A request that is held holds no lock of the
 * image and no memory but the tag's.
 *
 * Nothing here allocates memory once the queue has begun. Only requests that are larger than any
 * that the driver sends by itself get memory of their own (fetch_nbd.c).
 */
#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "aio.h"
#include "container_of.h"
#include "data.h"
#include "disk.h"
#include "error.h"
#include "fetch.h"
#include "grower.h"
#include "process.h"
#include "queue_thread.h"

/*
 * Other coroutines on its thread: a step of growing the image's file ahead, and those that write
 * metadata for a flush.
 */
#define OTHER_COROUTINES  16u
/*
 * What its own thread has for data from the start. With user copy it must do for the largest
 * request. With zero copy few requests need any, and they do not keep the others from going on.
 */
#define ZERO_COPY_TOUCHED (256u << 10)

struct request {
	struct thread_request turn;
	struct queue *queue;
	uint16_t tag;
	uint64_t begin_ns;
	struct request_desc desc; /* valid while the request is ours, as begin_ns is */
};

enum queue_state {
	QUEUE_STARTING,
	QUEUE_READY, /* the driver has been asked for requests on every tag */
	QUEUE_ENDED,
};

struct queue {
	struct queue_config config;
	cpu_set_t cpus; /* what config.cpus points to */
	struct queue_thread *thread;
	bool owns_thread;
	struct thread_member member;
	bool uses_disk; /* disk_co_begin_use() */
	struct thread_call begin, finish, abandon;
	struct aio_op ready_op;
	struct data_path *data;
	struct fetch *fetch;
	struct request *requests;
	struct serve serve;
	struct growing growing; /* buffers, if the driver copies */

	struct thread_lock lock;
	pthread_cond_t state_changed;
	enum queue_state state GUARDED_BY(lock);

	_Atomic int broken;  /* the first -errno; 0: none */
	_Atomic bool ending; /* no more requests will come */
};

static void queue_set_state(struct queue *queue, enum queue_state state)
{
	thread_lock(&queue->lock);
	queue->state = state;
	pthread_cond_broadcast(&queue->state_changed);
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

/* The next server of the device gets it, or the driver fails it. */
static void request_leave(struct request *req)
{
	serve_left(&req->queue->serve);
	fetch_leave(req->queue->fetch, req->tag);
}

static void co_serve(struct thread_request *turn)
{
	struct request *req = container_of(turn, struct request, turn);
	struct queue *queue = req->queue;
	struct serve_result result;

	if (!serve_co_wait_image(&queue->serve)) {
		request_leave(req);
		return;
	}
	if (!queue->uses_disk) {
		queue->uses_disk = true;
		disk_co_begin_use(queue->config.disk);
	}
	serve_co_wait_turn(&queue->serve, &req->desc, req->begin_ns);
	result = serve_co_request(&queue->serve, &req->desc, req->begin_ns, request_try, req);
	if (serve_leaves(&queue->serve, &req->desc, &result))
		request_leave(req);
	else
		request_complete(req, &result);
}

static void request_fetched(void *arg, uint16_t tag, const struct request_desc *desc)
{
	struct queue *queue = arg;
	struct request *req = &queue->requests[tag];

	req->desc = *desc;
	req->begin_ns = serve_begin(&queue->serve, desc);
	queue_thread_add(queue->thread, &req->turn);
}

static void begin_fetched(void *arg)
{
	struct queue *queue = arg;

	queue_thread_begin(queue->thread);
}

static void command_refused(void *arg, int error)
{
	tell_broken(arg, error);
}

/* The queue is over: it ends once its last answers and counters have gone out. */
static void queue_over(void *arg)
{
	struct queue *queue = arg;

	queue_thread_post(queue->thread, &queue->finish);
}

static const struct fetch_events fetch_events = {
	.request = request_fetched,
	.begin = begin_fetched,
	.refused = command_refused,
	.ending = queue_ending,
	.over = queue_over,
};

/* ---- on the thread ---- */

/* The last use of the queue on a thread that goes on: whoever has waited for it may free it. */
static void tell_ended(struct queue *queue)
{
	thread_lock(&queue->lock);
	queue->state = QUEUE_ENDED;
	pthread_cond_broadcast(&queue->state_changed);
	tell_main_thread(queue);
	thread_unlock(&queue->lock);
}

static void queue_ready(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct queue *queue = container_of(op, struct queue, ready_op);
	/* A shared thread's next queue has not asked yet; see queue_threads_drop_privileges(). */
	int error = queue->owns_thread ? process_drop_privileges() : 0;

	if (error < 0)
		tell_broken(queue, error);
	queue_set_state(queue, QUEUE_READY);
}

/*
 * A ring starts its commands in order, and refused ones complete at once. When the NOP after them
 * completes, every refusal is known.
 */
static void ask_whether_ready(struct queue *queue)
{
	struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

	io_uring_prep_nop(sqe);
	queue->ready_op.done = queue_ready;
	aio_sqe_set_op(sqe, &queue->ready_op);
}

static int begin(struct queue *queue)
{
	int res = queue->owns_thread ? data_allocate(queue->data) : 0;

	res = res ?: queue_thread_join(queue->thread, &queue->member);
	if (res < 0)
		return res;
	res = fetch_begin(queue->fetch);
	/* It has not been busy. */
	if (res < 0)
		queue_thread_leave(queue->thread, &queue->member, NULL);
	return res;
}

static void co_begin(struct thread_call *call)
{
	struct queue *queue = container_of(call, struct queue, begin);
	int res = begin(queue);

	if (res == 0) {
		ask_whether_ready(queue);
		return;
	}
	tell_broken(queue, res);
	tell_ended(queue);
}

/* In the turn that it waits for, the last answers go out, and refusals of them come back. */
static void co_finish(struct thread_call *call)
{
	struct queue *queue = container_of(call, struct queue, finish);

	co_turn();
	if (!queue_thread_leave(queue->thread, &queue->member, call))
		return;
	fetch_end(queue->fetch);
	tell_ended(queue);
}

static int abandon(void *arg)
{
	struct queue *queue = arg;

	fetch_abandon(queue->fetch);
	return 0;
}

static void co_abandon(struct thread_call *call)
{
	abandon(container_of(call, struct queue, abandon));
}

static void co_end_use(struct thread_member *member)
{
	struct queue *queue = container_of(member, struct queue, member);

	if (!queue->uses_disk)
		return;
	queue->uses_disk = false;
	disk_co_end_use(queue->config.disk);
}

/* ---- for the grower ---- */

static bool grow_data(void *arg)
{
	struct queue *queue = arg;

	/* So that the memory is near the queue's CPUs. */
	if (queue->config.cpus)
		sched_setaffinity(0, sizeof(cpu_set_t), queue->config.cpus);
	data_grow(queue->data);
	return true;
}

/* Only the driver knows whether a buffer is in use, so they stay. */
static bool has_nothing_to_give(void *arg)
{
	return true;
}

static void give_nothing(void *arg)
{
}

static const struct growing_ops growing_ops = {
	.grow = grow_data,
	.is_idle = has_nothing_to_give,
	.shrink = give_nothing,
};

/* On the queue's thread. */
static void ask_for_data(void *arg)
{
	struct queue *queue = arg;

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

struct aio_loop *queue_new_loop(const struct transport_queues *driver, uint16_t depth,
				enum data_way data, GError **err)
{
	return queue_thread_new_loop(RING_FILES | driver->ring_uses, ring_entries(depth),
				     data == DATA_ZERO_COPY ? depth : 0, err);
}

static struct request *new_requests(struct queue *queue)
{
	struct request *requests = g_new(struct request, queue->config.depth);

	for (unsigned tag = 0; tag < queue->config.depth; tag++)
		requests[tag] = (struct request){
			.turn.co_serve = co_serve,
			.queue = queue,
			.tag = tag,
		};
	return requests;
}

/* How much memory the requests share: 0 if the driver copies. */
static size_t pool_bytes(const struct queue_config *config)
{
	size_t all = (size_t)config->depth * config->max_io_bytes;

	return config->data == DATA_COPY ? 0 : MIN(all, MAX(DATA_POOL_BYTES, config->max_io_bytes));
}

static struct queue_thread *new_thread(const struct queue_config *config, GError **err)
{
	const size_t bytes = pool_bytes(config);
	const bool is_zero_copy = config->data == DATA_ZERO_COPY;
	const struct queue_thread_config own = {
		.loop = config->loop,
		.nr = config->q_id,
		.cpus = config->cpus,
		.pool_bytes = bytes,
		.pool_touched = MIN(bytes, is_zero_copy ? ZERO_COPY_TOUCHED : config->max_io_bytes),
		.requests = config->depth,
		.others = OTHER_COROUTINES,
	};

	return queue_thread_new(&own, err);
}

static struct data_path *new_data(struct queue *queue)
{
	const struct data_config config = {
		.driver = queue->config.driver,
		.way = queue->config.data,
		.char_fd = queue->config.char_fd,
		.q_id = queue->config.q_id,
		.depth = queue->config.depth,
		.max_io_bytes = queue->config.max_io_bytes,
		.pool = queue_thread_pool(queue->thread),
		.first_buffer = queue->config.first_buffer,
		.ask_more = ask_for_data,
		.arg = queue,
	};

	return data_new(&config);
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
		.buffer_group = queue->config.buffer_group,
		.loop = queue_thread_loop(queue->thread),
		.shares_loop = !queue->owns_thread,
		.data = queue->data,
		.events = &fetch_events,
		.arg = queue,
	};

	return fetch_new(&config, err);
}

static int start(struct queue *queue, GError **err)
{
	int res;

	queue->thread = queue->config.thread ?: new_thread(&queue->config, err);
	if (!queue->thread) {
		aio_loop_free(queue->config.loop);
		return -1;
	}
	queue->data = new_data(queue);
	queue->fetch = new_fetch(queue, err);
	if (!queue->fetch)
		return -1;
	/* Its own thread allocates the memory, near to its CPUs. A shared one must not wait. */
	res = queue->owns_thread ? 0 : data_allocate(queue->data);
	if (!res && queue->config.data == DATA_COPY)
		res = grower_add(&queue->growing);
	return res < 0 ? error_set(err, res, "queue %u", queue->config.q_id) : 0;
}

struct queue *queue_new(const struct queue_config *config, GError **err) NO_THREAD_SAFETY_ANALYSIS
{
	struct queue *queue = g_new0(struct queue, 1);

	queue->config = *config;
	queue->owns_thread = !config->thread;
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
	queue->member.co_give_back = co_end_use;
	queue->begin.co_fn = co_begin;
	queue->finish.co_fn = co_finish;
	queue->abandon.co_fn = co_abandon;
	queue->growing = (struct growing){ .ops = &growing_ops, .arg = queue };
	thread_lock_init(&queue->lock);
	pthread_cond_init(&queue->state_changed, NULL);
	/* Nothing has begun: there is nothing to wait for. */
	queue->state = QUEUE_ENDED;
	if (start(queue, err) < 0) {
		queue_free(queue);
		return NULL;
	}
	queue->state = QUEUE_STARTING;
	queue_thread_post(queue->thread, &queue->begin);
	return queue;
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

uint64_t queue_late(const struct queue *queue)
{
	return serve_late(&queue->serve);
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
	/* A shared thread might come to it when an ended queue is already free. */
	if (queue->owns_thread)
		queue_thread_post(queue->thread, &queue->abandon);
	else
		queue_thread_run(queue->thread, abandon, queue);
}

bool queue_is_bound(const struct queue *queue)
{
	return !queue->owns_thread && queue->fetch && fetch_is_abandoned(queue->fetch);
}

bool queue_is_alive(struct queue *queue)
{
	return !queue->owns_thread || queue_thread_is_alive(queue->thread);
}

void queue_wait(struct queue *queue)
{
	thread_lock(&queue->lock);
	while (queue->state != QUEUE_ENDED)
		pthread_cond_wait(&queue->state_changed, &queue->lock.mutex);
	thread_unlock(&queue->lock);
	if (queue->owns_thread && queue->thread)
		queue_thread_end(queue->thread);
}

void queue_free(struct queue *queue)
{
	if (!queue)
		return;
	queue_wait(queue);
	grower_remove(&queue->growing);
	/* Before what the kernel may still use. */
	if (queue->owns_thread)
		queue_thread_free(queue->thread);
	fetch_free(queue->fetch);
	data_free(queue->data);
	serve_destroy(&queue->serve);
	thread_lock_destroy(&queue->lock);
	pthread_cond_destroy(&queue->state_changed);
	g_free(queue->requests);
	g_free(queue);
}
