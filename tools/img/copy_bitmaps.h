/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies the bitmaps along with an image. */
#ifndef UBD_COPY_BITMAPS_H
#define UBD_COPY_BITMAPS_H

#include <stdbool.h>

#include "image.h"

/*
 * Checks that the bitmaps of @source can be copied to an image of that format, before it is
 * created; prints an error if not. Inconsistent bitmaps cannot be copied, but may be skipped.
 */
bool copy_bitmaps_co_check(struct image *source, const char *target_format, bool skip_broken);

/* The same of the target, once it is open. */
bool copy_bitmaps_check_target(const struct image *target);

/* Copies the consistent bitmaps, and warns about the others; prints an error on failure. */
int copy_bitmaps_co_run(struct image *source, struct image *target);

#endif
