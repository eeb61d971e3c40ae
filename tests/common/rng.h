/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers that a seed repeats. Not for several threads at once, nor inside MIN() and MAX(),
 * which draw twice.
 */
#ifndef UBD_TESTS_RNG_H
#define UBD_TESTS_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A separate generator for part @b of the work of seed @a. */
static inline struct rng rng_of(uint64_t a, uint64_t b)
{
	struct rng rng = { a };
	uint64_t mixed = rng_next(&rng);

	rng.state = mixed ^ (b * 0xd6e8feb86659fd93);
	rng_next(&rng);
	return rng;
}

/* 0 to @n - 1. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

/* @lo to @hi, both included. */
static inline uint64_t rng_between(struct rng *rng, uint64_t lo, uint64_t hi)
{
	return lo + rng_below(rng, hi - lo + 1);
}

static inline bool rng_percent(struct rng *rng, unsigned percent)
{
	return rng_below(rng, 100) < percent;
}

#endif
