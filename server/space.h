/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether little space is left below an image. Levels are the percentages below which that is told;
 * 0: there is enough. Space that goes up and down around one is told once.
 */
#ifndef UBD_SPACE_H
#define UBD_SPACE_H

#include "image.h"

/* The level, after @before. */
unsigned space_level(const struct image_space *space, unsigned before);

static inline bool space_got_less(unsigned level, unsigned before)
{
	return level && (!before || level < before);
}

/* What has become of it, for people. The caller frees it. */
char *space_describe(const struct image_space *space, unsigned level);

#endif
