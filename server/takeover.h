/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device of a server that died or is to leave: it is named by --recover, kept by the service
 * manager, or waits for a server of this image.
 */
#ifndef UBD_TAKEOVER_H
#define UBD_TAKEOVER_H

#include <glib.h>

#include "control.h"
#include "image.h"

/*
 * The device that is to be recovered, in *ret_control, NULL for a new one. @kept_fd is what the
 * service manager had for us, or -1: then the options that make a device are for the first start.
 * Waits for the end of its last server; the options become those of the device. < 0 with @err set.
 */
int takeover_begin(int kept_fd, struct control **ret_control, GError **err);

/*
 * Whether @file, the bottom node of the image, locked and nothing of it read yet, is the file that
 * the device was made of, and has not been changed while nobody served that. If so this process
 * becomes the server of @recovered, before it changes anything itself: *ret_char_fd is the driver's
 * file, or stays as it is if there is one, or if another file is forced upon the device. < 0 with
 * @err set.
 */
int takeover_claim(struct control *recovered, const struct image *file, int *ret_char_fd,
		   GError **err);

/*
 * For the next server: this image, which may have been forced upon the device, is the device's.
 * Before END_RECOVERY. 0 or -errno.
 */
int takeover_keep_image(struct control *recovered, const struct image *image);

#endif
