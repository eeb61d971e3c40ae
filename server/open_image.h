/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening the image that is served. Main loop only. */
#ifndef UBD_OPEN_IMAGE_H
#define UBD_OPEN_IMAGE_H

#include <glib.h>
#include <stdbool.h>

#include "image.h"
#include "options.h"
#include "takeover.h"

/*
 * Called once the image's file is open and locked, and before anything of it is read: @file is the
 * bottom node. @char_fd: of the device that is taken over, if its server is this process now; else
 * -1. The callee owns it, even on failure: < 0 with @err set.
 */
typedef int open_image_enter_fn(void *arg, struct image *file, int char_fd, GError **err);

/*
 * Opens the image of the options, read-only if it can only be read. If a device is taken over,
 * waits until its last server lets go of the image. @shared: backing files; see struct
 * image_open_opts. NULL with @err set on failure.
 */
struct image *open_image_co(const struct options *options, const struct takeover *takeover,
			    struct image_shared *shared, open_image_enter_fn *co_enter,
			    void *enter_arg, GError **err);

/* 0, or < 0 with @err set: the image may not be served as what it seems to be. */
int open_image_check_format(const struct options *options, const struct image *image, GError **err);

#endif
