/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which parts of a disk were written: one bit per granule, in memory.
 *
 * Bits can be set from any thread at any time, without a lock. For everything else, the caller must
 * make sure that nobody sets bits meanwhile.
 *
 * The memory has the layout of a qcow2 image: the first granule is the lowest bit of the first
 * byte.
 */
#ifndef UBD_DIRTY_BITS_H
#define UBD_DIRTY_BITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRTY_BITS_MIN_GRANULARITY_BITS 9
#define DIRTY_BITS_MAX_GRANULARITY_BITS 31
/*
 * Limit for one bitmap, as in QEMU. A 4 TiB disk with granules of 512 bytes, the smallest, exceeds
 * it twofold.
 */
#define DIRTY_BITS_MAX_BYTES		(512ull << 20)

struct dirty_bits {
	uint64_t disk_bytes;
	unsigned granularity_bits;
	uint64_t nr_bits;
	uint64_t nr_words;
	_Atomic uint64_t *words; /* little-endian */
};

/* The size in bytes of a disk's bits. */
uint64_t dirty_bits_bytes(uint64_t disk_bytes, unsigned granularity_bits);

/* All clean. NULL: out of memory, or more than DIRTY_BITS_MAX_BYTES. NULL can be freed. */
struct dirty_bits *dirty_bits_try_new(uint64_t disk_bytes, unsigned granularity_bits);
void dirty_bits_free(struct dirty_bits *bits);

/* Sets every granule that contains a byte of the range. Ignores what is beyond the disk's end. */
void dirty_bits_set(struct dirty_bits *bits, uint64_t off, uint64_t bytes);

void dirty_bits_set_all(struct dirty_bits *bits);
void dirty_bits_clear_all(struct dirty_bits *bits);

/* Makes everything dirty in @dst that is dirty in @src, which may have any size and granularity. */
void dirty_bits_merge(struct dirty_bits *dst, const struct dirty_bits *src);

/*
 * The number of bytes from @off on that have the same state, up to the disk's end; @off is below
 * it.
 */
uint64_t dirty_bits_extent(const struct dirty_bits *bits, uint64_t off, bool *ret_dirty);

/* The number of dirty bytes of the disk. */
uint64_t dirty_bits_count(const struct dirty_bits *bits);

/*
 * The bits as bytes, from byte @pos on; @pos and @bytes are multiples of 8. Zeroes follow the last
 * bit.
 */
bool dirty_bits_any(const struct dirty_bits *bits, uint64_t pos, size_t bytes);
/* ORs the bits into @buf. */
void dirty_bits_get(const struct dirty_bits *bits, uint64_t pos, uint8_t *buf, size_t bytes);
/* ORs @buf into the bits. */
void dirty_bits_put(struct dirty_bits *bits, uint64_t pos, const uint8_t *buf, size_t bytes);

#endif
