/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the requests of a queue come from the driver, and how their answers go back. The device's
 * flags say which of two ways it is:
 *
 *   tags      A command for each tag: it waits for a request, and takes along the answer to the
 *             last one.
 *   batches   One command for the queue tells of requests, several at a time; and in each turn of
 *             the loop one command takes all answers. Needs UBD_F_BATCH.
 *
 * A request is ours from the call of request() until fetch_answer() or fetch_leave(). The queue's
 * thread only, but for fetch_new() and fetch_free().
 */
#ifndef UBD_FETCH_H
#define UBD_FETCH_H

#include <glib.h>
#include <linux/ubd_cmd.h>
#include <stdint.h>

#include "aio.h"
#include "data.h"

struct fetch;

/* In loop context. */
struct fetch_events {
	/* The tag's descriptor is filled. */
	void (*request)(void *arg, uint16_t tag);
	/* The driver has refused a command for another reason than its end; -errno. */
	void (*refused)(void *arg, int error);
	/* Nothing more will come, and nothing is ours any more. The last call. */
	void (*over)(void *arg);
};

struct fetch_config {
	int char_fd;	   /* of /dev/ubdcN; the caller's */
	uint64_t features; /* UBD_F_* of the device */
	uint16_t q_id;
	uint16_t depth;
	struct aio_loop *loop;
	const struct data *data; /* knows where each tag's data go */
	const struct fetch_events *events;
	void *arg; /* of events */
};

/* Before the loop runs first. NULL with @err set on failure. */
struct fetch *fetch_new(const struct fetch_config *config, GError **err);
/* After its loop: the kernel may use memory of it until then. NULL is fine. */
void fetch_free(struct fetch *fetch);

/* Asks for requests on every tag. What is refused is known before a later command ends. */
void fetch_begin(struct fetch *fetch);

/* Ends the tag's request, and asks for the next one. @result is as the driver wants it. */
void fetch_answer(struct fetch *fetch, uint16_t tag, int32_t result);

/* Leaves the tag's request to the next server. */
void fetch_leave(struct fetch *fetch, uint16_t tag);

#endif
