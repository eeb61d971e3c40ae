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

/* Whether it can be kept as it shall be, once privileges were dropped. False with @err set. */
bool overlay_can_be_kept(const struct overlay *overlay, GError **err);

/* Before the image, which was served, is flushed and closed: it will be kept if it shall be. */
void overlay_complete(struct overlay *overlay, struct image *image);

/*
 * Once the image was closed; @is_whole: without an error. Otherwise, and if the file cannot be
 * written back, what there is of it is kept under another name. False if it was not kept as it
 * should have been.
 */
bool overlay_co_keep(struct overlay *overlay, bool is_whole);

void overlay_free(struct overlay *overlay);

#endif
