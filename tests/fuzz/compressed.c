// SPDX-License-Identifier: GPL-2.0-or-later
/* Compressed clusters, and the entries that name them. */
#include "patch.h"

static const enum region_kind kinds[] = { REGION_COMPRESSED, REGION_L2 };
static const char *const bases[] = { "zlib", "zstd" };

const struct fuzz_target fuzz_target = {
	.kinds = kinds,
	.nr_kinds = G_N_ELEMENTS(kinds),
	.bases = bases,
	.nr_bases = G_N_ELEMENTS(bases),
};
