// SPDX-License-Identifier: GPL-2.0-or-later
/* Which parts of a disk were written; see dirty_bits.h. */
#include "dirty_bits.h"

#include <endian.h>
#include <glib.h>
#include <string.h>

#include "align.h"

static uint64_t load_word(const struct dirty_bits *bits, uint64_t index)
{
	return le64toh(atomic_load_explicit(&bits->words[index], memory_order_relaxed));
}

/*
 * Relaxed: whoever reads the bits has waited for the requests that set them. Most bits are already
 * set; looking first leaves the cache line shared.
 */
static void set_in_word(struct dirty_bits *bits, uint64_t index, uint64_t mask)
{
	if (~load_word(bits, index) & mask)
		atomic_fetch_or_explicit(&bits->words[index], htole64(mask), memory_order_relaxed);
}

/* Bits @first to @last of a word. */
static uint64_t word_mask(unsigned first, unsigned last)
{
	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

static void set_bits(struct dirty_bits *bits, uint64_t first, uint64_t last)
{
	for (uint64_t i = first / 64; i <= last / 64; i++)
		set_in_word(bits, i,
			    word_mask(i == first / 64 ? first % 64 : 0,
				      i == last / 64 ? last % 64 : 63));
}

uint64_t dirty_bits_bytes(uint64_t disk_bytes, unsigned granularity_bits)
{
	uint64_t granularity = 1ull << granularity_bits;
	uint64_t nr_bits = disk_bytes / granularity + (disk_bytes % granularity != 0);

	return nr_bits / 8 + (nr_bits % 8 != 0);
}

struct dirty_bits *dirty_bits_try_new(uint64_t disk_bytes, unsigned granularity_bits)
{
	uint64_t bytes = dirty_bits_bytes(disk_bytes, granularity_bits);
	uint64_t nr_words = (bytes + 7) / 8;
	struct dirty_bits *bits;

	if (bytes > DIRTY_BITS_MAX_BYTES)
		return NULL;
	bits = g_try_new0(struct dirty_bits, 1);
	if (!bits)
		return NULL;
	*bits = (struct dirty_bits){
		.disk_bytes = disk_bytes,
		.granularity_bits = granularity_bits,
		.nr_bits = (disk_bytes >> granularity_bits) +
			   ((disk_bytes & ((1ull << granularity_bits) - 1)) != 0),
		.nr_words = nr_words,
		.words = g_try_new0(_Atomic uint64_t, MAX(nr_words, 1)),
	};
	if (!bits->words)
		g_clear_pointer(&bits, g_free);
	return bits;
}

void dirty_bits_free(struct dirty_bits *bits)
{
	if (bits)
		g_free((void *)bits->words);
	g_free(bits);
}

void dirty_bits_set(struct dirty_bits *bits, uint64_t off, uint64_t bytes)
{
	if (!bytes || off >= bits->disk_bytes)
		return;
	bytes = MIN(bytes, bits->disk_bytes - off);
	set_bits(bits, off >> bits->granularity_bits, (off + bytes - 1) >> bits->granularity_bits);
}

void dirty_bits_set_all(struct dirty_bits *bits)
{
	dirty_bits_set(bits, 0, bits->disk_bytes);
}

void dirty_bits_clear_all(struct dirty_bits *bits)
{
	for (uint64_t i = 0; i < bits->nr_words; i++)
		if (load_word(bits, i))
			atomic_store_explicit(&bits->words[i], 0, memory_order_relaxed);
}

/* The first bit at or after @index with that state; nr_bits if there is none. */
static uint64_t find_bit(const struct dirty_bits *bits, uint64_t index, bool dirty)
{
	while (index < bits->nr_bits) {
		uint64_t word = load_word(bits, index / 64);
		uint64_t found = (dirty ? word : ~word) & (UINT64_MAX << index % 64);

		if (found)
			return MIN(align_down(index, 64) + __builtin_ctzll(found), bits->nr_bits);
		index = (index | 63) + 1;
	}
	return bits->nr_bits;
}

uint64_t dirty_bits_extent(const struct dirty_bits *bits, uint64_t off, bool *ret_dirty)
{
	uint64_t index = off >> bits->granularity_bits;
	uint64_t end;

	*ret_dirty = load_word(bits, index / 64) >> (index % 64) & 1;
	end = find_bit(bits, index, !*ret_dirty);
	/* The end of the disk may cut the last granule. */
	if (end == bits->nr_bits)
		return bits->disk_bytes - off;
	return (end << bits->granularity_bits) - off;
}

void dirty_bits_merge(struct dirty_bits *dst, const struct dirty_bits *src)
{
	uint64_t off = 0;

	while (off < src->disk_bytes) {
		bool dirty;
		uint64_t bytes = dirty_bits_extent(src, off, &dirty);

		if (dirty)
			dirty_bits_set(dst, off, bytes);
		off += bytes;
	}
}

uint64_t dirty_bits_count(const struct dirty_bits *bits)
{
	uint64_t off = 0, count = 0;

	while (off < bits->disk_bytes) {
		bool dirty;
		uint64_t bytes = dirty_bits_extent(bits, off, &dirty);

		count += dirty ? bytes : 0;
		off += bytes;
	}
	return count;
}

/* As many words as there are from byte @pos on. */
static uint64_t words_at(const struct dirty_bits *bits, uint64_t pos, size_t bytes)
{
	uint64_t first = pos / 8;

	return first < bits->nr_words ? MIN(bytes / 8, bits->nr_words - first) : 0;
}

bool dirty_bits_any(const struct dirty_bits *bits, uint64_t pos, size_t bytes)
{
	uint64_t nr = words_at(bits, pos, bytes);

	for (uint64_t i = 0; i < nr; i++)
		if (load_word(bits, pos / 8 + i))
			return true;
	return false;
}

void dirty_bits_get(const struct dirty_bits *bits, uint64_t pos, uint8_t *buf, size_t bytes)
{
	uint64_t nr = words_at(bits, pos, bytes), word;

	for (uint64_t i = 0; i < nr; i++) {
		memcpy(&word, buf + i * 8, sizeof(word));
		word |= htole64(load_word(bits, pos / 8 + i));
		memcpy(buf + i * 8, &word, sizeof(word));
	}
}

void dirty_bits_put(struct dirty_bits *bits, uint64_t pos, const uint8_t *buf, size_t bytes)
{
	uint64_t nr = words_at(bits, pos, bytes), word;

	for (uint64_t i = 0; i < nr; i++) {
		uint64_t index = pos / 8 + i;

		memcpy(&word, buf + i * 8, sizeof(word));
		word = le64toh(word);
		/* An image may have bits set behind the last one. */
		if (index == bits->nr_words - 1 && bits->nr_bits % 64)
			word &= word_mask(0, bits->nr_bits % 64 - 1);
		if (word)
			set_in_word(bits, index, word);
	}
}
