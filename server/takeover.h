/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device of a server that has died or must leave: named by --recover, kept by the service
 * manager, or waiting for a server of this image.
 */
#ifndef UBD_TAKEOVER_H
#define UBD_TAKEOVER_H

#include <glib.h>

#include "control.h"
#include "image.h"

/*
 * Stores the device to recover in *ret_control, or NULL for a new one. @kept_fd is what the service
 * manager kept for us, or -1; if it kept one, options for new devices only apply to the first
 * start. Waits for the device's last server to end; the options become those of the device. < 0
 * with @err set.
 */
int takeover_begin(int kept_fd, struct control **ret_control, GError **err);

/*
 * Checks that @file, the bottom node of the image, locked but not read yet, is the file for which
 * the device was created, and has not been changed while nobody served the device. If so, this
 * process becomes the server of @recovered, before it changes anything itself: *ret_char_fd is set
 * to the driver's file, unless there is one already, or another file is forced upon the device. < 0
 * with @err set.
 */
int takeover_claim(struct control *recovered, const struct image *file, int *ret_char_fd,
		   GError **err);

/*
 * Records for the next server that this image, which may have been forced upon the device, is the
 * device's. Before END_RECOVERY. 0 or -errno.
 */
int takeover_keep_image(struct control *recovered, const struct image *image);

#endif
