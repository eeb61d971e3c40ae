/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that checks every few seconds whether another program has truncated or deleted a file of
 * the image, which requests notice late or not at all, and how much space is left. It does nothing
 * else, because a file system that hangs may block it for ever.
 *
 * Each image has its own: one for all would stop at the first file that hangs. It takes 8 of the
 * 290 KiB that an export without clients takes, and a kernel stack. To have fewer, a thread that
 * hangs would have to be noticed, and another one to take its place; that is more than they cost.
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
