/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is counted of the requests of a queue or a connection: by operation, with latencies.
 *
 * Only the loop's thread writes, with plain stores to cache lines that nobody else writes, and
 * readers on other threads do not make it wait: what they read need not be of one moment. Nothing
 * is allocated for a request, and the clock is read once or twice per turn of the loop, however
 * many requests it has.
 *
 * The latency of a request is the time from the turn in which it was begun to the turn in which it
 * was done, without that turn's own work. One that did not wait for anything ends with its turn.
 */
#ifndef UBD_COUNTERS_H
#define UBD_COUNTERS_H

#include <stdint.h>

#include "latency.h"
#include "request_desc.h"

struct counters;

struct op_stats {
	uint64_t requests; /* done; those that have failed, too */
	uint64_t failed;
	uint64_t bytes; /* of those that have not */
	uint64_t total_ns, max_ns;
	uint64_t latency[LATENCY_BUCKETS];
};

/* The caller frees them with counters_free(). */
struct counters *counters_new(void);
/* Once the loop has ended the turn of the last request. NULL is fine. */
void counters_free(struct counters *counters);

/* A request comes; returns when, for counters_done(). Loop thread. */
uint64_t counters_begin(struct counters *counters);
/* It is answered. Loop thread. */
void counters_done(struct counters *counters, const struct request_desc *desc, uint64_t begin_ns,
		   bool failed);
/* It will not be answered, and does not count. Loop thread. */
void counters_leave(struct counters *counters);

/* The requests that are begun and not done. Any thread, as those below. */
uint64_t counters_in_flight(const struct counters *counters);
/* Adds what was counted of @op; the maximum is that of both. */
void counters_add(const struct counters *counters, enum request_op op, struct op_stats *sum);

/* "read", "write", "flush", "discard", "write-zeroes" or "other". */
const char *request_op_name(enum request_op op);

#endif
