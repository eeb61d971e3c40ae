// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Check: the window, and how many references each of its clusters has.
 *
 * All counts have the same number of bits, and as many clusters as fit into the memory are one
 * window. It begins with two bits, which are enough for most images: the data of a disk and of two
 * snapshots. A larger count makes all of them wider, in place, and the window smaller; what no
 * longer fits is counted by the walk for the next window.
 */
#include <string.h>

#include "align.h"
#include "check.h"

static uint64_t max_clusters(const struct check *c, unsigned bits)
{
	return c->counts.limit * 8 / bits;
}

int qcow2_check_window_init(struct check *c)
{
	uint64_t most = MAX(c->nr_clusters, 1) * sizeof(uint32_t);

	c->counts.bits = 2;
	/* Not touched where the counts stay narrow. */
	c->counts.room = g_try_malloc0(MIN(align_up(most, 64), c->counts.limit));
	c->window_clusters = MIN(max_clusters(c, c->counts.bits), MAX(c->nr_clusters, 1));
	c->entries_total = c->entries_total * 2 * (c->nr_clusters / c->window_clusters + 1);
	return c->counts.room ? 0 : -ENOMEM;
}

void qcow2_check_window_clear(struct check *c)
{
	g_free(c->counts.room);
	c->counts.room = NULL;
}

uint64_t qcow2_check_window_of(const struct check *c, uint64_t cluster)
{
	return align_down(cluster, max_clusters(c, c->counts.bits));
}

uint64_t *qcow2_check_window_bits(struct check *c)
{
	memset(c->counts.room, 0, div_round_up(c->window_clusters, 64) * sizeof(uint64_t));
	return c->counts.room;
}

void qcow2_check_window_reset(struct check *c)
{
	memset(c->counts.room, 0, div_round_up(c->window_clusters * c->counts.bits, 8));
}

static uint32_t load(const void *room, unsigned bits, uint64_t index)
{
	switch (bits) {
	case 2:
		return ((const uint8_t *)room)[index / 4] >> (index % 4 * 2) & 3;
	case 8:
		return ((const uint8_t *)room)[index];
	default:
		return ((const uint32_t *)room)[index];
	}
}

static void add_one(void *room, unsigned bits, uint64_t index)
{
	switch (bits) {
	case 2:
		((uint8_t *)room)[index / 4] += 1 << (index % 4 * 2);
		break;
	case 8:
		((uint8_t *)room)[index]++;
		break;
	default:
		((uint32_t *)room)[index]++;
		break;
	}
}

uint32_t qcow2_check_counted(const struct check *c, uint64_t cluster)
{
	return load(c->counts.room, c->counts.bits, cluster - c->window_start);
}

/* ---- wider counts ---- */

/* Where the next window must begin if this one ends at @end. */
static void note_next_used(struct check *c, uint64_t end)
{
	for (uint64_t i = end - c->window_start; i < c->window_clusters; i++) {
		if (!load(c->counts.room, c->counts.bits, i))
			continue;
		c->next_used = MIN(c->next_used, c->window_start + i);
		return;
	}
}

static void widen(struct check *c)
{
	unsigned narrow = c->counts.bits, wide = narrow == 2 ? 8 : 32;
	uint64_t nr = MIN(max_clusters(c, wide), c->window_clusters);

	note_next_used(c, c->window_start + nr);
	/* From the last one on: a wide count lies where narrow ones with higher numbers were. */
	for (uint64_t i = nr; i-- > 0;) {
		uint32_t count = load(c->counts.room, narrow, i);

		if (wide == 8)
			((uint8_t *)c->counts.room)[i] = count;
		else
			((uint32_t *)c->counts.room)[i] = count;
	}
	c->counts.bits = wide;
	c->window_clusters = nr;
}

void qcow2_check_count(struct check *c, uint64_t cluster)
{
	while (qcow2_check_see(c, cluster)) {
		uint64_t index = cluster - c->window_start;
		uint32_t most = UINT32_MAX >> (32 - c->counts.bits);

		if (load(c->counts.room, c->counts.bits, index) < most) {
			add_one(c->counts.room, c->counts.bits, index);
			return;
		}
		if (c->counts.bits == 32)
			return;
		widen(c);
	}
}
