/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest disk must hold: one version per sector. For users that make sure that no sector is
 * in two requests at a time (other sectors may be, on any thread).
 */
#ifndef UBD_TESTS_MODEL_H
#define UBD_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

struct model {
	uint64_t sectors;
	uint32_t *version;
	uint8_t *maybe_zero; /* a discard may have zeroed it, or not */
};

/* @initial: the version of each sector of @bytes; up to @max_bytes the rest is zeroes. */
void model_init(struct model *model, uint64_t bytes, uint64_t max_bytes, const uint32_t *initial);
void model_destroy(struct model *model);

void model_written(struct model *model, uint64_t guest_off, uint64_t bytes, uint32_t version);
/* Sectors [first, end) hold @versions from now on; NULL: zeroes. */
void model_set(struct model *model, uint64_t first, uint64_t end, const uint32_t *versions);
void model_discarded(struct model *model, uint64_t guest_off, uint64_t bytes);

/*
 * Compares what was read. The first read settles what a discard left open. NULL if everything is
 * right; otherwise what is wrong, which the caller frees.
 */
char *model_check(struct model *model, uint64_t guest_off, uint64_t bytes, const void *buf);

#endif
