/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server's answer to `stats` says of its disk. Nothing of it is believed but that it can be
 * shown: whatever is missing, or is not a number, is 0.
 */
#ifndef UBD_CTL_DISK_STATS_H
#define UBD_CTL_DISK_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "latency.h"

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD,
	DISK_ZEROES,
	DISK_OTHER,
	DISK_OPS,
};

/* "read", "write", "flush", "discard", "write-zeroes", "other". */
extern const char *const disk_op_names[DISK_OPS];

struct disk_op_stats {
	uint64_t requests, failed, bytes;
	uint64_t total_ns, max_ns;
	uint64_t latency[LATENCY_BUCKETS];
};

/* Of all its queues or clients, those that have left included. */
struct disk_stats {
	uint64_t time_ns; /* of the server's clock */
	struct disk_op_stats ops[DISK_OPS];
	uint64_t in_flight, held;
	uint64_t cache_bytes, cache_hits, cache_misses;
	uint64_t file_bytes, allocated_bytes, freed_bytes;
	uint64_t space_free, space_total; /* below the image; total 0: not known */
};

void disk_stats_parse(const json_t *answer, struct disk_stats *ret_stats);

/*
 * What was done since @before. Of a server that has less than before, because it is another one,
 * all that it has. What is no counter stays as it is.
 */
struct disk_stats disk_stats_since(const struct disk_stats *now, const struct disk_stats *before);

#endif
