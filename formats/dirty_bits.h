/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which parts of a disk were written: a bit per granule, in memory.
 *
 * Bits are set from any thread at any time, without a lock. All else is for the one who
 * knows that nobody sets bits meanwhile.
 *
 * The memory is as the bits lie in a qcow2 image: the first granule is the
 * lowest bit of the first byte.
 */
#ifndef UBD_DIRTY_BITS_H
#define UBD_DIRTY_BITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRTY_BITS_MIN_GRANULARITY_BITS 9
#define DIRTY_BITS_MAX_GRANULARITY_BITS 31
/* Of one bitmap, as in QEMU: a 4 TiB disk at the finest granularity of 512 bytes takes twice that.
 */
#define DIRTY_BITS_MAX_BYTES		(512ull << 20)

struct dirty_bits {
	uint64_t disk_bytes;
	unsigned granularity_bits;
	uint64_t nr_bits;
	uint64_t nr_words;
	_Atomic uint64_t *words; /* little-endian */
};

/* Bytes that the bits of a disk take. */
uint64_t dirty_bits_bytes(uint64_t disk_bytes, unsigned granularity_bits);

/* All clean. NULL: no memory, or more than DIRTY_BITS_MAX_BYTES. NULL can be freed. */
struct dirty_bits *dirty_bits_try_new(uint64_t disk_bytes, unsigned granularity_bits);
void dirty_bits_free(struct dirty_bits *bits);

/* Every granule that has a byte of the range. What is beyond the disk's end is ignored. */
void dirty_bits_set(struct dirty_bits *bits, uint64_t off, uint64_t bytes);

void dirty_bits_set_all(struct dirty_bits *bits);
void dirty_bits_clear_all(struct dirty_bits *bits);

/* All that is dirty in @src, of a disk of any size and with any granularity, is dirty in @dst. */
void dirty_bits_merge(struct dirty_bits *dst, const struct dirty_bits *src);

/* How many bytes from @off on are of one state, up to the disk's end; @off is below it. */
uint64_t dirty_bits_extent(const struct dirty_bits *bits, uint64_t off, bool *ret_dirty);

/* Dirty bytes of the disk. */
uint64_t dirty_bits_count(const struct dirty_bits *bits);

/*
 * The bits as bytes, from byte @pos on, a multiple of 8 as @bytes is; behind
 * the last bit there are zeroes.
 */
bool dirty_bits_any(const struct dirty_bits *bits, uint64_t pos, size_t bytes);
/* ORs the bits into @buf. */
void dirty_bits_get(const struct dirty_bits *bits, uint64_t pos, uint8_t *buf, size_t bytes);
/* ORs @buf into the bits. */
void dirty_bits_put(struct dirty_bits *bits, uint64_t pos, const uint8_t *buf, size_t bytes);

#endif
