/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that checks every few seconds whether another program has truncated or deleted a file of
 * the image, which requests notice late or not at all, and how much space is left. It does nothing
 * else, because a file system that hangs may block it for ever.
 */
#ifndef UBD_INSPECTOR_H
#define UBD_INSPECTOR_H

#include <glib.h>

#include "image.h"

struct inspector;

/*
 * Writes to the eventfd @event_fd when image_troubles() or space_level() changes. The caller keeps
 * image and fd until inspector_co_free(). NULL with @err set on failure.
 */
struct inspector *inspector_new(struct image *image, int event_fd, GError **err);

/* Waits for the check that it makes, however long that takes. NULL is fine. */
void inspector_co_free(struct inspector *inspector);

#endif
