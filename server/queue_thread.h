/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that serves queues: one queue of a device, or, in a process with several disks, the
 * queues with the same number of all devices. It has a loop, the coroutines for the requests of all
 * its queues, and memory for their data.
 *
 * Nothing here allocates memory once the thread has begun. The stacks of a few requests, and a part
 * of the pool for data, are allocated from the start; further requests wait until one of
 * these ends, or until the grower (grower.h), which may have to wait for memory, has allocated
 * more. That memory is freed when the thread is idle.
 */
#ifndef UBD_QUEUE_THREAD_H
#define UBD_QUEUE_THREAD_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "aio.h"
#include "data_pool.h"

struct queue_thread;

struct queue_thread_config {
	unsigned nr;	       /* for its name */
	const cpu_set_t *cpus; /* NULL: any */
	struct aio_loop *loop; /* of queue_thread_new_loop(); the thread's, unless that fails */
	size_t pool_bytes;     /* for data; 0: none */
	size_t pool_touched;   /* allocated from the start */
	unsigned requests;     /* number of requests to keep stacks for, while it is not idle */
	unsigned others;       /* coroutines that images start, for which stacks are kept */
};

/* The number of requests that can always be served at once. */
#define QUEUE_THREAD_RESERVED 8u

/*
 * A loop for a thread. The sandbox allows no new ones. @uses: enum ring_use;
 * @entries: for what one turn submits; @buffers: entries of the ring's table of registered buffers;
 * 0: no table. NULL with @err set.
 */
struct aio_loop *queue_thread_new_loop(unsigned uses, unsigned entries, unsigned buffers,
				       GError **err);

/* Main thread, as the next two. NULL with @err set on failure. */
struct queue_thread *queue_thread_new(const struct queue_thread_config *config, GError **err);
/* Waits for the end of the thread, which no queue may use any more. Further calls do nothing. */
void queue_thread_end(struct queue_thread *thread);
/* Frees a thread that has ended. NULL is fine. */
void queue_thread_free(struct queue_thread *thread);

/* Wakes the loop, and returns whether it has run since the last call. Main thread. */
bool queue_thread_is_alive(struct queue_thread *thread);

/* Calls fn(arg) as a thread_call, and returns its result. Any other thread. */
int queue_thread_run(struct queue_thread *thread, int (*fn)(void *arg), void *arg);

struct aio_loop *queue_thread_loop(const struct queue_thread *thread);
struct data_pool *queue_thread_pool(struct queue_thread *thread);

/*
 * Work for the thread, done by a coroutine for which others wait, so it must not wait for a
 * disk; embed it.
 */
struct thread_call {
	void (*co_fn)(struct thread_call *call);
	/* Private to the thread. */
	struct thread_call *next;
	bool is_posted;
};

/*
 * Calls call->co_fn() soon, in the order of these calls. Nothing happens if it is still to be
 * called. Any thread.
 */
void queue_thread_post(struct queue_thread *thread, struct thread_call *call);

/* ---- on the thread ---- */

/* A queue; embed it. */
struct thread_member {
	/* The thread is idle: frees memory that the queue does not need. May wait. */
	void (*co_give_back)(struct thread_member *member);
	/* Private to the thread. */
	struct thread_member *next;
	struct thread_call *leaves;
	bool is_busy;
};

/* 0, or -errno if the thread lacks memory. */
int queue_thread_join(struct queue_thread *thread, struct thread_member *member);
/* False: the queue is busy, and @again will be called once it is not. */
bool queue_thread_leave(struct queue_thread *thread, struct thread_member *member,
			struct thread_call *again);

/* A request that has arrived; embed it. */
struct thread_request {
	void (*co_serve)(struct thread_request *request);
	struct thread_request *next; /* private to the thread */
};

/* Adds a request, which a coroutine will serve. Call queue_thread_begin() afterwards. */
void queue_thread_add(struct queue_thread *thread, struct thread_request *request);
/* Begins the requests that were added. Loop context, or a coroutine. */
void queue_thread_begin(struct queue_thread *thread);

#endif
