// SPDX-License-Identifier: GPL-2.0-or-later
/* What is counted of requests; see counters.h. */
#include "counters.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "aio.h"
#include "container_of.h"

#define CACHE_LINE 64
#define NS_PER_US  1000

/* Only one thread stores to them. */
struct op_counters {
	_Atomic uint64_t requests, failed, bytes, total_ns, max_ns;
	_Atomic uint64_t latency[LATENCY_BUCKETS];
};

struct counters {
	_Alignas(CACHE_LINE) _Atomic uint64_t in_flight;
	/* Of the loop's thread: requests that were begun and done in this turn. */
	uint32_t in_turn[REQUEST_OPS];
	uint32_t all_in_turn;
	uint64_t turn_ns; /* its begin */
	struct aio_hook end_of_turn;
	struct op_counters ops[REQUEST_OPS];
};

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void store(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, value, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	store(counter, load(counter) + more);
}

/* ---- the loop's thread ---- */

static void count_latency(struct op_counters *op, uint64_t ns, unsigned times)
{
	count(&op->latency[latency_bucket(ns / NS_PER_US)], times);
	count(&op->total_ns, ns * times);
	if (ns > load(&op->max_ns))
		store(&op->max_ns, ns);
}

/* All at once: they were begun together, and are answered together. */
static void count_in_turn(struct aio_hook *hook)
{
	struct counters *counters = container_of(hook, struct counters, end_of_turn);
	uint64_t ns = aio_now_ns() - counters->turn_ns;

	for (unsigned op = 0; op < REQUEST_OPS; op++)
		if (counters->in_turn[op])
			count_latency(&counters->ops[op], ns, counters->in_turn[op]);
	memset(counters->in_turn, 0, sizeof(counters->in_turn));
	counters->all_in_turn = 0;
}

uint64_t counters_begin(struct counters *counters)
{
	count(&counters->in_flight, 1);
	return aio_turn_ns();
}

void counters_leave(struct counters *counters)
{
	count(&counters->in_flight, -1);
}

static void note_in_turn(struct counters *counters, enum request_op op, uint64_t turn_ns)
{
	counters->in_turn[op]++;
	if (counters->all_in_turn++)
		return;
	counters->turn_ns = turn_ns;
	aio_at_end_of_turn(&counters->end_of_turn);
}

void counters_done(struct counters *counters, const struct request_desc *desc, uint64_t begin_ns,
		   bool failed)
{
	struct op_counters *op = &counters->ops[desc->op];
	uint64_t turn_ns = aio_turn_ns();

	count(&counters->in_flight, -1);
	count(&op->requests, 1);
	if (failed)
		count(&op->failed, 1);
	else
		count(&op->bytes, desc->bytes);
	if (begin_ns == turn_ns)
		note_in_turn(counters, desc->op, turn_ns);
	else
		count_latency(op, turn_ns - begin_ns, 1);
}

/* ---- any thread ---- */

uint64_t counters_in_flight(const struct counters *counters)
{
	return load(&counters->in_flight);
}

void counters_add(const struct counters *counters, enum request_op op, struct op_stats *sum)
{
	const struct op_counters *from = &counters->ops[op];

	sum->requests += load(&from->requests);
	sum->failed += load(&from->failed);
	sum->bytes += load(&from->bytes);
	sum->total_ns += load(&from->total_ns);
	sum->max_ns = MAX(sum->max_ns, load(&from->max_ns));
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		sum->latency[i] += load(&from->latency[i]);
}

const char *request_op_name(enum request_op op)
{
	static const char *const names[REQUEST_OPS] = {
		[REQUEST_READ] = "read",
		[REQUEST_WRITE] = "write",
		[REQUEST_FLUSH] = "flush",
		[REQUEST_DISCARD] = "discard",
		[REQUEST_WRITE_ZEROES] = "write-zeroes",
		[REQUEST_UNKNOWN] = "other",
	};

	return names[op];
}

struct counters *counters_new(void)
{
	struct counters *counters = aligned_alloc(CACHE_LINE, sizeof(*counters));

	if (!counters)
		g_error("no memory");
	memset(counters, 0, sizeof(*counters));
	counters->end_of_turn.fn = count_in_turn;
	return counters;
}

void counters_free(struct counters *counters)
{
	free(counters);
}
