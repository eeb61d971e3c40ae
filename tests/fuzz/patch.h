/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A fuzz target that patches base images: each input is a base image, a seed for what is done to
 * it, and a list of patches, so that every input means something.
 *
 * 	byte 0      the base image
 * 	bytes 1, 2  the seed
 * 	then        patches: how (1 byte), where (2 bytes), and what
 *
 * `how` has the region in its low four bits (an index into the target's regions) and, above, the
 * form of `what`: 8 bytes, 4, 1, or an entry made of a cluster number (1 byte) and flags (1 byte).
 */
#ifndef UBD_TESTS_FUZZ_PATCH_H
#define UBD_TESTS_FUZZ_PATCH_H

#include <stddef.h>

#include "base.h"

/* Which regions a target patches, and which base images it uses; set by each target. */
struct fuzz_target {
	const enum region_kind *kinds;
	unsigned nr_kinds;
	const char *const *bases; /* names; NULL: all */
	unsigned nr_bases;
};

extern const struct fuzz_target fuzz_target;

#endif
