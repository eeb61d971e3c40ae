/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hardware queue: a thread with a loop of its own that serves the requests
 * of all its tags.
 *
 * A tag's request is served by a coroutine; the rest of the time the driver has the tag. When it gives
 * back nothing more, since the device was stopped or is left to another server, the thread ends.
 */
#ifndef UBD_QUEUE_H
#define UBD_QUEUE_H

#include <glib.h>
#include <linux/ubd_cmd.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "data.h"
#include "failures.h"
#include "hold.h"
#include "image.h"

struct queue;

struct queue_config {
	int char_fd;  /* of /dev/ubdcN */
	int event_fd; /* an eventfd that is told when queue_poll() has something new */
	uint16_t q_id;
	uint16_t depth;
	uint32_t max_io_bytes;
	uint64_t features; /* UBD_F_* of the device */
	struct image *image;
	bool outlived;	       /* by the device: what was acknowledged is in the file */
	const cpu_set_t *cpus; /* where the thread runs; NULL: anywhere */
	const struct hold_policy *hold;
	const _Atomic gint64 *hold_limit_us; /* of hold_limit_us(), which may change */
};

/*
 * Starts the thread. The caller frees the queue with queue_free(), and keeps
 * the fds and the image until then.
 */
struct queue *queue_new(const struct queue_config *config, GError **err);

/*
 * Waits until the driver has every tag. When it fails, some tags may be with
 * the driver all the same: stop the device before queue_free().
 */
int queue_wait_ready(struct queue *queue, GError **err);

struct queue_events {
	bool ended; /* the thread has */
	int broken; /* -errno of a command that the driver refused: a tag is lost */
	/* By operation: the requests that have failed since the last call ... */
	struct failure failed[FAILURES_OPS];
	/* ... and why the last one is held that is. */
	struct failure held;
};

/* What has happened; main thread. */
struct queue_events queue_poll(struct queue *queue);

struct queue_stats {
	uint64_t requests;
	uint64_t failed;
	uint64_t read_bytes;
	uint64_t written_bytes;
	uint64_t held; /* at this moment */
};

/* Any thread. */
struct queue_stats queue_stats(struct queue *queue);

/*
 * Stops holding requests. Those that are held get one more try; then they fail, or they stay
 * unanswered for the next server, and their tags end.
 */
enum queue_release {
	QUEUE_HOLDS,
	QUEUE_FAILS,
	QUEUE_LEAVES,
};

void queue_release_held(struct queue *queue, enum queue_release release);

/* Wakes the queue's loop, and says whether it has run since the last call. Main thread. */
bool queue_is_alive(struct queue *queue);

/* Waits for the end of the thread, which comes when the device is stopped; its last state. */
struct data_stats queue_wait(struct queue *queue);

/* Waits likewise, and frees the queue. NULL is fine. */
void queue_free(struct queue *queue);

#endif
