// SPDX-License-Identifier: GPL-2.0-or-later
/* The threads that serve all devices of a process; see queue_threads.h. */
#include "queue_threads.h"

#include <errno.h>

#include "device.h"
#include "error.h"
#include "process.h"
#include "queue_thread.h"

/* Far more than a process can serve well. */
#define MAX_PLACES   4096
/* The most that a ring's table can have. */
#define MAX_BUFFERS  16384u
/* What all devices submit in a turn is usually less. */
#define RING_ENTRIES 1024
/*
 * What requests of all devices share for data, per thread, and what is there from the start: enough
 * for the largest request of a new device (device.c).
 */
#define POOL_BYTES   QUEUE_THREADS_MAX_COPY
#define POOL_TOUCHED (1u << 20)
/* How many requests a thread keeps stacks for. There may be more of them. */
#define MAX_KEPT     512
/* Coroutines that images start: few of them at a time. More do not start; see co_has_stack(). */
#define OTHERS	     16

struct queue_threads {
	struct queue_thread *all[DEVICE_MAX_QUEUES]; /* NULL: not needed yet */
	struct aio_loop *loops[DEVICE_MAX_QUEUES];   /* of threads to come; the first nr are made */
	unsigned nr;
	bool is_complete;
	unsigned depth, ring_uses;
	bool taken[MAX_PLACES];
	GArray *outliving; /* struct outliving */
};

struct outliving {
	void (*fn)(void *arg);
	void *arg;
};

struct queue_threads *queue_threads_new(unsigned depth, unsigned ring_uses)
{
	struct queue_threads *threads = g_new0(struct queue_threads, 1);

	threads->depth = depth;
	threads->ring_uses = ring_uses;
	threads->outliving = g_array_new(FALSE, FALSE, sizeof(struct outliving));
	return threads;
}

void queue_threads_free(struct queue_threads *threads)
{
	if (!threads)
		return;
	for (unsigned i = 0; i < DEVICE_MAX_QUEUES; i++) {
		queue_thread_free(threads->all[i]);
		aio_loop_free(threads->loops[i]);
	}
	for (unsigned i = 0; i < threads->outliving->len; i++) {
		const struct outliving *one =
			&g_array_index(threads->outliving, struct outliving, i);

		one->fn(one->arg);
	}
	g_array_unref(threads->outliving);
	g_free(threads);
}

int queue_threads_prepare(struct queue_threads *threads, unsigned queues, GError **err)
{
	if (threads->is_complete && queues > threads->nr)
		return error_refuse(err, -EINVAL,
				    "%u queues: devices added to this server can have at most %u; "
				    "set --queues when starting it",
				    queues, threads->nr);
	for (; threads->nr < queues; threads->nr++) {
		struct aio_loop **loop = &threads->loops[threads->nr];

		*loop = queue_thread_new_loop(RING_FILES | threads->ring_uses, RING_ENTRIES,
					      threads->ring_uses & RING_BUFFERS ? MAX_BUFFERS : 0,
					      err);
		if (!*loop)
			return -1;
	}
	return 0;
}

void queue_threads_complete(struct queue_threads *threads)
{
	threads->is_complete = true;
}

void queue_threads_outlive(struct queue_threads *threads, void (*fn)(void *arg), void *arg)
{
	const struct outliving one = { fn, arg };

	g_array_append_val(threads->outliving, one);
}

int queue_threads_take_place(struct queue_threads *threads)
{
	for (int place = 0; place < MAX_PLACES; place++) {
		if (threads->taken[place])
			continue;
		threads->taken[place] = true;
		return place;
	}
	return -ENOSPC;
}

void queue_threads_put_place(struct queue_threads *threads, int place)
{
	threads->taken[place] = false;
}

unsigned queue_threads_first_buffer(const struct queue_threads *threads, int place)
{
	return place * threads->depth;
}

bool queue_threads_have_buffers(const struct queue_threads *threads, int place, unsigned depth)
{
	return depth <= threads->depth &&
	       queue_threads_first_buffer(threads, place) + depth <= MAX_BUFFERS;
}

struct queue_thread *queue_threads_get(struct queue_threads *threads, unsigned q_id,
				       const cpu_set_t *cpus, GError **err)
{
	const struct queue_thread_config config = {
		.nr = q_id,
		.cpus = cpus,
		.loop = threads->loops[q_id],
		.pool_bytes = POOL_BYTES,
		.pool_touched = POOL_TOUCHED,
		.requests = MAX_KEPT,
		.others = OTHERS,
	};

	if (threads->all[q_id])
		return threads->all[q_id];
	g_assert(q_id < threads->nr);
	threads->all[q_id] = queue_thread_new(&config, err);
	if (threads->all[q_id])
		threads->loops[q_id] = NULL;
	return threads->all[q_id];
}

static int drop_privileges(void *unused)
{
	return process_drop_privileges();
}

int queue_threads_drop_privileges(struct queue_threads *threads)
{
	int res = 0;

	for (unsigned i = 0; i < DEVICE_MAX_QUEUES; i++)
		if (threads->all[i])
			res = res ?: queue_thread_run(threads->all[i], drop_privileges, NULL);
	return res;
}

bool queue_threads_are_alive(const struct queue_threads *threads)
{
	bool alive = true;

	for (unsigned i = 0; i < DEVICE_MAX_QUEUES; i++)
		if (threads->all[i])
			alive &= queue_thread_is_alive(threads->all[i]);
	return alive;
}
