/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a way of fetching implements for fetch.c; private to the ways. */
#ifndef UBD_FETCH_WAY_H
#define UBD_FETCH_WAY_H

#include <stdatomic.h>

#include "fetch.h"

struct fetch_way {
	struct fetch *(*new)(const struct fetch_config *config, GError **err);
	void (*free)(struct fetch *fetch);
	int (*begin)(struct fetch *fetch);
	void (*end)(struct fetch *fetch); /* NULL: there is nothing to do */
	void (*answer)(struct fetch *fetch, uint16_t tag, int32_t result);
	void (*leave)(struct fetch *fetch, uint16_t tag);
};

extern const struct fetch_way fetch_by_tags, fetch_by_batches;

/* The first member of what new() returns; fetch.c sets @way, new() the rest. */
struct fetch {
	const struct fetch_way *way;
	struct fetch_config config;
	unsigned live;	       /* commands and requests that keep the queue alive */
	_Atomic unsigned ours; /* requests; changed by fetch_count() */
	bool abandoned;
	bool ending; /* fetch_end_commands() */
};

/* Only the queue's thread, so there is no need for an atomic addition. */
static inline void fetch_count(struct fetch *fetch, int more)
{
	unsigned ours = atomic_load_explicit(&fetch->ours, memory_order_relaxed);

	atomic_store_explicit(&fetch->ours, ours + more, memory_order_relaxed);
}

/* Hands the tag's request to the queue; call fetch_begin_requests() next. */
static inline void fetch_request(struct fetch *fetch, uint16_t tag, const struct request_desc *desc)
{
	fetch_count(fetch, 1);
	fetch->config.events->request(fetch->config.arg, tag, desc);
}

/* The queue begins what was handed to it; see struct fetch_events. */
static inline void fetch_begin_requests(struct fetch *fetch)
{
	fetch->config.events->begin(fetch->config.arg);
}

/* Refuses a request that came after fetch_abandon(), if the driver can still be answered. */
void fetch_refuse(struct fetch *fetch, uint16_t tag);

/*
 * The driver ends the queue, but may keep commands that carried an answer meanwhile: only requests
 * that are ours keep it alive from now on. Not on a loop that goes on, to which those may return.
 */
void fetch_end_commands(struct fetch *fetch);

/* Decrements fetch->live; reports the end when it reaches 0. */
void fetch_end_one(struct fetch *fetch);

#endif
