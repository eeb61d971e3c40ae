// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether little space is left; see space.h. */
#include "space.h"

#include "values.h"

/* In percent, and what must be left for the level to be over. */
static const struct {
	unsigned level;
	double over;
} levels[] = { { 1, 1.2 }, { 5, 6 }, { 10, 12 } };

static double percent(const struct image_space *space)
{
	return space->free_bytes * 100.0 / space->total_bytes;
}

unsigned space_level(const struct image_space *space, unsigned before)
{
	if (!space->total_bytes)
		return before;
	for (unsigned i = 0; i < G_N_ELEMENTS(levels); i++)
		if (percent(space) < levels[i].level ||
		    (before && before <= levels[i].level && percent(space) < levels[i].over))
			return levels[i].level;
	return 0;
}

char *space_describe(const struct image_space *space, unsigned level)
{
	g_autofree char *left = size_to_text(space->free_bytes);

	if (!level)
		return g_strdup_printf(
			"there is enough space again where it is written: %s (%.1f %%)", left,
			percent(space));
	return g_strdup_printf("only %s (%.1f %%) of space is left where it is written", left,
			       percent(space));
}
