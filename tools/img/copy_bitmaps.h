/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bitmaps of an image, taken along when the image is copied. */
#ifndef UBD_COPY_BITMAPS_H
#define UBD_COPY_BITMAPS_H

#include <stdbool.h>

#include "image.h"

/*
 * Whether the bitmaps of @source can be copied to an image of that format, before any is
 * made; says why not. Inconsistent ones cannot, unless they may be skipped.
 */
bool copy_bitmaps_co_check(struct image *source, const char *target_format, bool skip_broken);

/* Copies those that are consistent, and says which are not; or says what went wrong. */
int copy_bitmaps_co_run(struct image *source, struct image *target);

#endif
