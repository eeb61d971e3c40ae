// SPDX-License-Identifier: GPL-2.0-or-later
/* Entries of L1, L2 and refcount tables, and refcounts. */
#include "patch.h"

static const enum region_kind kinds[] = { REGION_L1, REGION_L2, REGION_REFTABLE, REGION_REFBLOCK };

const struct fuzz_target fuzz_target = {
	.kinds = kinds,
	.nr_kinds = G_N_ELEMENTS(kinds),
};
