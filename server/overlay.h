/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The temporary overlay of --temporary, to which the server writes instead of the image, and which
 * --keep-as keeps. Main loop only; NULL is fine everywhere: there is none.
 */
#ifndef UBD_OVERLAY_H
#define UBD_OVERLAY_H

#include <stdbool.h>

#include "image.h"
#include "options.h"

struct overlay;

/*
 * Opens a temporary overlay of @base, which it owns from now on, even on failure. NULL with @err
 * set. Free it with overlay_free().
 */
struct overlay *overlay_co_new(const struct options *options, struct image *base,
			       struct image **ret_image, GError **err);

/* After privileges were dropped: whether --keep-as is still possible. False with @err set. */
bool overlay_can_be_kept(const struct overlay *overlay, GError **err);

/* Before the served image is flushed and closed: makes it durable if it will be kept. */
void overlay_complete(struct overlay *overlay, struct image *image);

/*
 * After the image was closed; @is_whole: without an error. Otherwise, or if the file cannot be
 * written back, keeps the incomplete file under another name. False if it was not kept as
 * requested.
 */
bool overlay_co_keep(struct overlay *overlay, bool is_whole);

void overlay_free(struct overlay *overlay);

#endif
