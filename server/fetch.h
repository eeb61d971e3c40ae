/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fetches the requests of a queue from the driver, and sends back their answers. Drivers that have
 * commands for this (fetch_wire.h) share two ways; other drivers provide their own (fetch_way.h).
 *
 *   tags      One command per tag waits for a request, and carries the answer to the last one.
 *   batches   One command for the queue announces requests, several at a time; and in each turn of
 *             the loop one command carries all answers.
 *
 * A request is ours from the call of request() until fetch_answer() or fetch_leave(). Only the
 * queue's thread may call these functions, except for fetch_new() and fetch_free().
 */
#ifndef UBD_FETCH_H
#define UBD_FETCH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "aio.h"
#include "data.h"
#include "request_desc.h"
#include "transport_queues.h"

struct fetch;

/* Called on the loop's thread, but not in a coroutine. */
struct fetch_events {
	/* The tag has a request, which begins with the next begin(). */
	void (*request)(void *arg, uint16_t tag, const struct request_desc *desc);
	/* Begins the requests that have arrived together. */
	void (*begin)(void *arg);
	/* The driver has refused a command, although the device has not ended; -errno. */
	void (*refused)(void *arg, int error);
	/*
	 * No more requests will come, but some may be ours. Called before over(), perhaps often, if
	 * the driver's commands tell (transport_queues.keeps_commands).
	 */
	void (*ending)(void *arg);
	/* No more requests will come, and none is ours any more. The last call. */
	void (*over)(void *arg);
};

struct fetch_config {
	const struct transport_queues *driver;
	bool batches; /* requests come in batches */
	enum data_way way;
	int char_fd; /* the server's file; belongs to the caller */
	uint16_t q_id;
	uint16_t depth;
	uint32_t max_io_bytes;
	uint16_t buffer_group; /* of the loop's, for batches */
	struct aio_loop *loop;
	bool shares_loop;	/* the loop continues when this queue has ended */
	struct data_path *data; /* knows the place of each tag's data */
	const struct fetch_events *events;
	void *arg; /* of events */
};

/* NULL with @err set on failure. */
struct fetch *fetch_new(const struct fetch_config *config, GError **err);
/* After fetch_end(), or after freeing the loop. NULL is fine. */
void fetch_free(struct fetch *fetch);

/*
 * Fetches requests on every tag. Refusals are known before a later command ends. 0, or -errno if it
 * could not begin.
 */
int fetch_begin(struct fetch *fetch);
/*
 * Removes from the ring what fetch_begin() has added, in a turn after over(): the kernel then uses
 * no more memory, unless commands were abandoned by fetch_abandon().
 */
void fetch_end(struct fetch *fetch);

/* Ends the tag's request, and asks for the next one. @result is what the driver expects. */
void fetch_answer(struct fetch *fetch, uint16_t tag, int32_t result);

/* Leaves the tag's request to the next server. */
void fetch_leave(struct fetch *fetch, uint16_t tag);

/* How many requests are ours. Any thread. */
unsigned fetch_requests(const struct fetch *fetch);

/*
 * Abandons the commands that wait for requests, which end with the thread: no more requests arrive,
 * answers to our requests are dropped, and the queue is over when the last of these has ended.
 * Further calls do nothing.
 *
 * If the loop continues, the driver still has commands of this queue on it: requests that arrive
 * through them fail at once, answers do reach the driver, and the queue is over as above; but it
 * can only be freed when the loop is.
 */
void fetch_abandon(struct fetch *fetch);
/* Whether the commands were abandoned; any thread, after over(). */
bool fetch_is_abandoned(const struct fetch *fetch);

#endif
