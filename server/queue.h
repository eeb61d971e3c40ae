/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hardware queue: a thread with a loop of its own that serves the requests
 * of all its tags.
 *
 * A tag is always in one of three states: the driver has it (a FETCH waits in
 * the ring), a coroutine serves its request, or it has ended (the device was
 * stopped). When every tag has ended, so does the thread.
 */
#ifndef UBD_QUEUE_H
#define UBD_QUEUE_H

#include <glib.h>
#include <linux/ubd_cmd.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "data.h"
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
	bool ended;	   /* every tag has ended */
	int broken;	   /* -errno of a command that the driver refused: a tag is lost */
	int request_errno; /* of the first request that failed, told once; 0: none, or told */
};

/* What has happened; main thread. */
struct queue_events queue_poll(struct queue *queue);

struct queue_stats {
	uint64_t requests;
	uint64_t failed;
	uint64_t read_bytes;
	uint64_t written_bytes;
	struct data_stats data;
};

/* Waits for the end of the thread, which comes when the device is stopped. */
struct queue_stats queue_wait(struct queue *queue);

/* Waits likewise, and frees the queue. NULL is fine. */
void queue_free(struct queue *queue);

#endif
