/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Latencies in buckets: 1 us wide up to 8 us, and then four for each power of two, so that a value
 * is known to a quarter of itself. The last bucket has all that is 29 seconds and more.
 */
#ifndef UBD_LATENCY_H
#define UBD_LATENCY_H

#include <stdint.h>

#define LATENCY_BUCKETS 96

static inline unsigned latency_bucket(uint64_t us)
{
	unsigned shift, bucket;

	if (us < 4)
		return us;
	shift = 61 - __builtin_clzll(us);
	bucket = shift * 4 + (us >> shift);
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The least that is in a bucket. For LATENCY_BUCKETS, what would follow the last one. */
static inline uint64_t latency_from_us(unsigned bucket)
{
	if (bucket < 4)
		return bucket;
	return (uint64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

/*
 * What a part @part (0.99) of all latencies does not exceed, as if those of a bucket were spread
 * evenly over it. 0 if there are none.
 */
double latency_percentile_us(const uint64_t counts[LATENCY_BUCKETS], double part);

#endif
