/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hardware queue, whose thread serves the requests of all its tags.
 *
 * A coroutine serves a tag's request; the rest of the time, the driver has the tag. When the driver
 * returns no more tags, because the device was stopped or is left to another server, the queue
 * ends, as does its thread unless that is shared.
 */
#ifndef UBD_QUEUE_H
#define UBD_QUEUE_H

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "data.h"
#include "hold.h"
#include "serve.h"
#include "transport_queues.h"

struct aio_loop;
struct disk;
struct queue;
struct queue_thread;
struct throttle_group;

struct queue_config {
	/* NULL: the queue gets its own, which runs the loop. */
	struct queue_thread *thread;
	struct aio_loop *loop; /* of queue_new_loop(); the queue's, also on failure */
	/* Its part of the ring: a group of buffers, and for zero copy the first table entry. */
	uint16_t buffer_group;
	unsigned first_buffer;
	const struct transport_queues *driver;
	int char_fd;  /* the server's file, or the queue's */
	int event_fd; /* an eventfd to signal news for queue_poll() */
	uint16_t q_id;
	uint16_t depth;
	uint32_t max_io_bytes;
	enum data_way data;
	bool batches; /* requests come in batches */
	struct disk *disk;
	bool outlived;	       /* the device outlives us: keep acknowledged data in the file */
	const cpu_set_t *cpus; /* CPUs for its own thread; NULL: any */
	const struct hold_policy *hold;
	const struct request_limits *limits; /* which may change */
	struct throttle_group *throttle;
};

/*
 * The loop for a queue's own thread. The sandbox allows no new ones. NULL with @err set.
 */
struct aio_loop *queue_new_loop(const struct transport_queues *driver, uint16_t depth,
				enum data_way data, GError **err);

/*
 * Starts the queue. The caller frees it with queue_free(), and keeps the fds and the disk until
 * then.
 */
struct queue *queue_new(const struct queue_config *config, GError **err);

/*
 * Waits until the driver has every tag. On failure, the driver may still have some tags: stop the
 * device before queue_free().
 */
int queue_wait_ready(struct queue *queue, GError **err);

struct queue_events {
	bool ended; /* no more requests will come */
	int broken; /* -errno of a command that the driver refused: a tag is lost */
	struct serve_events served;
};

/* What has happened since the last call. Main thread. */
struct queue_events queue_poll(struct queue *queue);

/* Any thread. */
void queue_add_stats(const struct queue *queue, struct serve_stats *sum);
uint64_t queue_held(const struct queue *queue);
/* As serve_late(). */
uint64_t queue_late(const struct queue *queue);

/* How many requests it has. Any thread. */
unsigned queue_requests(const struct queue *queue);

/*
 * What to do with held requests: a left one stays unanswered for the next server, its tag ends.
 * None waits for limits any more.
 */
void queue_release_held(struct queue *queue, enum serve_release release);

/*
 * Ends the queue though the driver keeps its commands: the requests that it has end, and then the
 * queue. On a shared thread, those that still come fail from then on. Main thread.
 */
void queue_abandon(struct queue *queue);

/*
 * Whether queue_free() must wait until the shared thread has been freed, because the driver has
 * kept commands. After queue_wait().
 */
bool queue_is_bound(const struct queue *queue);

/*
 * Wakes the loop of the queue's own thread, and returns whether it has run since the last call.
 * True if the thread is shared. Main thread.
 */
bool queue_is_alive(struct queue *queue);

/* Waits for the queue and its own thread to end, which they do when the device is stopped. */
void queue_wait(struct queue *queue);

/* Waits for the end, and frees the queue. NULL is fine. */
void queue_free(struct queue *queue);

#endif
