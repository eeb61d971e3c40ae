/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the requests of a queue come from the driver, and how their answers go back. There are two
 * ways for drivers with commands for it (fetch_wire.h); a driver may have its own (fetch_way.h):
 *
 *   tags      A command for each tag: it waits for a request, and takes along the answer to the
 *             last one.
 *   batches   One command for the queue tells of requests, several at a time; and in each turn of
 *             the loop one command takes all answers.
 *
 * A request is ours from the call of request() until fetch_answer() or fetch_leave(). The queue's
 * thread only, except for fetch_new() and fetch_free().
 */
#ifndef UBD_FETCH_H
#define UBD_FETCH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "aio.h"
#include "data.h"
#include "request_desc.h"
#include "transport.h"

struct fetch;

/* In loop context. */
struct fetch_events {
	/* The tag has a request. */
	void (*request)(void *arg, uint16_t tag, const struct request_desc *desc);
	/* The driver has refused a command, and not because the device ended; -errno. */
	void (*refused)(void *arg, int error);
	/* No more requests will come, and none is ours any more. The last call. */
	void (*over)(void *arg);
};

struct fetch_config {
	const struct transport_ops *driver;
	bool batches; /* requests come in batches */
	int char_fd;  /* the server's file; belongs to the caller */
	uint16_t q_id;
	uint16_t depth;
	struct aio_loop *loop;
	const struct data *data; /* knows the place of each tag's data */
	const struct fetch_events *events;
	void *arg; /* of events */
};

/* Call it before the loop first runs. NULL with @err set on failure. */
struct fetch *fetch_new(const struct fetch_config *config, GError **err);
/* Call it after freeing the loop: until then the kernel may use its memory. NULL is fine. */
void fetch_free(struct fetch *fetch);

/* Asks for requests on every tag. Refusals are known before a later command ends. */
void fetch_begin(struct fetch *fetch);

/* Ends the tag's request, and asks for the next one. @result is what the driver expects. */
void fetch_answer(struct fetch *fetch, uint16_t tag, int32_t result);

/* Leaves the tag's request to the next server. */
void fetch_leave(struct fetch *fetch, uint16_t tag);

#endif
