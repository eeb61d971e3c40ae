// SPDX-License-Identifier: GPL-2.0-or-later
/* Stamped sectors; see stamp.h. A word is version:32, sector:24, index of the word:8. */
#include "stamp.h"

#include <assert.h>
#include <glib.h>
#include <string.h>

#define WORDS (SECTOR_SIZE / sizeof(uint64_t))

static uint64_t stamp_of(uint64_t sector, uint32_t version)
{
	return (uint64_t)version << 32 | sector << 8;
}

void stamp_fill(void *buf, uint64_t guest_off, uint64_t bytes, uint32_t version)
{
	assert(guest_off % SECTOR_SIZE == 0 && bytes % SECTOR_SIZE == 0);
	if (version == VERSION_ZERO) {
		memset(buf, 0, bytes);
		return;
	}
	for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE) {
		uint64_t stamp = stamp_of((guest_off + done) / SECTOR_SIZE, version);
		uint64_t *words = (uint64_t *)((char *)buf + done);

		for (unsigned i = 0; i < WORDS; i++)
			words[i] = stamp + i;
	}
}

bool stamp_parse(const void *buf, uint64_t guest_off, uint32_t *ret_version)
{
	const uint64_t *words = buf;
	uint32_t version = words[0] >> 32;
	uint64_t stamp = version == VERSION_ZERO ? 0 : stamp_of(guest_off / SECTOR_SIZE, version);
	uint64_t step = version == VERSION_ZERO ? 0 : 1;

	for (unsigned i = 0; i < WORDS; i++) {
		if (words[i] != stamp + i * step)
			return false;
	}
	*ret_version = version;
	return true;
}

char *stamp_describe(const void *buf)
{
	const uint64_t *words = buf;
	uint64_t first = words[0];
	uint64_t step = first ? 1 : 0;
	uint32_t version;
	unsigned same = 1;

	while (same < WORDS && words[same] == first + same * step)
		same++;
	if (first == 0 && same == WORDS)
		return g_strdup("zeroes");
	version = first >> 32;
	if (same == WORDS && (first & 0xff) == 0)
		return g_strdup_printf("version %u of sector %u", version,
				       (unsigned)(first >> 8 & 0xffffff));
	return g_strdup_printf("no whole sector: word 0 is %#" G_GINT64_MODIFIER
			       "x, word %u is %#" G_GINT64_MODIFIER "x",
			       first, MIN(same, (unsigned)WORDS - 1),
			       words[MIN(same, (unsigned)WORDS - 1)]);
}
