/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * L2 entries and the arithmetic of their subclusters, independent of any image.
 *
 * Section "Extended L2 Entries": a standard cluster has 32 subclusters. The second word of its
 * entry has two bits for each: 0 to 31 say that it is allocated, 32 to 63 that it reads as zeroes;
 * both at once are invalid. Without that feature an entry is one word, and a cluster counts as one
 * subcluster: itself.
 */
#ifndef UBD_QCOW2_SUBCLUSTER_H
#define UBD_QCOW2_SUBCLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#define QCOW2_SUBCLUSTER_BITS 5 /* log2 of the subclusters of a cluster */
#define QCOW2_ALL_SUBCLUSTERS UINT32_MAX

/* In host order. */
struct l2_entry {
	uint64_t desc;
	uint64_t bitmap; /* 0 if entries have one word */
};

static inline uint32_t subclusters_allocated(uint64_t bitmap)
{
	return bitmap;
}

static inline uint32_t subclusters_zero(uint64_t bitmap)
{
	return bitmap >> 32;
}

static inline bool subclusters_valid(uint64_t bitmap)
{
	return !(subclusters_allocated(bitmap) & subclusters_zero(bitmap));
}

/* @nr subclusters from @first on; their sum is at most 32. */
static inline uint32_t subclusters_mask(unsigned first, unsigned nr)
{
	return ((1ull << nr) - 1) << first;
}

static inline uint64_t subclusters_allocate(uint64_t bitmap, uint32_t mask)
{
	return (bitmap | mask) & ~((uint64_t)mask << 32);
}

static inline uint64_t subclusters_make_zero(uint64_t bitmap, uint32_t mask)
{
	return (bitmap | (uint64_t)mask << 32) & ~(uint64_t)mask;
}

/* The number of bits of @bits, from @first on, that equal the first one. */
static inline unsigned bit_run(uint32_t bits, unsigned first)
{
	uint32_t rest = bits >> first;
	uint32_t others = rest & 1 ? ~rest : rest;
	unsigned run = others ? (unsigned)__builtin_ctz(others) : 32;

	return run < 32 - first ? run : 32 - first;
}

/* The number of subclusters, including @first, that have the same state from @first on. */
static inline unsigned subclusters_run(uint64_t bitmap, unsigned first)
{
	unsigned allocated = bit_run(subclusters_allocated(bitmap), first);
	unsigned zero = bit_run(subclusters_zero(bitmap), first);

	return allocated < zero ? allocated : zero;
}

#endif
