// SPDX-License-Identifier: GPL-2.0-or-later
/* The header and its extensions. */
#include "patch.h"

static const enum region_kind kinds[] = { REGION_HEADER };

const struct fuzz_target fuzz_target = {
	.kinds = kinds,
	.nr_kinds = G_N_ELEMENTS(kinds),
};
