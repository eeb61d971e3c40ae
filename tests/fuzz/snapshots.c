// SPDX-License-Identifier: GPL-2.0-or-later
/* The snapshot table, and what goes with it. */
#include "patch.h"

static const enum region_kind kinds[] = { REGION_SNAPSHOTS, REGION_L1, REGION_L2, REGION_REFBLOCK,
					  REGION_HEADER };
static const char *const bases[] = { "snapshots" };

const struct fuzz_target fuzz_target = {
	.kinds = kinds,
	.nr_kinds = G_N_ELEMENTS(kinds),
	.bases = bases,
	.nr_bases = G_N_ELEMENTS(bases),
};
