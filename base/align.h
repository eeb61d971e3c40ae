/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rounding to blocks, and the block layer's unit. Nothing here looks for an overflow. */
#ifndef UBD_ALIGN_H
#define UBD_ALIGN_H

#include <stdbool.h>
#include <stdint.h>

/* What "sector" means everywhere, whatever the device's block size is. */
#define SECTOR_SHIFT 9
#define SECTOR_SIZE  512u

/* 0 is none. */
static inline bool is_power_of_2(uint64_t value)
{
	return value && !(value & (value - 1));
}

/* @align must be a power of two. */
static inline bool is_aligned(uint64_t value, uint64_t align)
{
	return !(value & (align - 1));
}

static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return align_down(value + align - 1, align);
}

/* From @off to the next multiple; all of @align if @off is one. */
static inline uint64_t bytes_to_boundary(uint64_t off, uint64_t align)
{
	return align - (off & (align - 1));
}

/* How many units hold @value; @unit may be any number but 0. */
static inline uint64_t div_round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit;
}

/* Like align_up(), for any unit. */
static inline uint64_t round_up_to(uint64_t value, uint64_t unit)
{
	return div_round_up(value, unit) * unit;
}

#endif
