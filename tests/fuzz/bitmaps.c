// SPDX-License-Identifier: GPL-2.0-or-later
/* The bitmap directory and bitmap tables. */
#include "patch.h"

static const enum region_kind kinds[] = { REGION_BITMAPS, REGION_HEADER, REGION_REFBLOCK };
static const char *const bases[] = { "bitmaps" };

const struct fuzz_target fuzz_target = {
	.kinds = kinds,
	.nr_kinds = G_N_ELEMENTS(kinds),
	.bases = bases,
	.nr_bases = G_N_ELEMENTS(bases),
};
