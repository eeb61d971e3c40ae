/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device of a server that has died or must leave: named by --recover, kept by the service
 * manager, or waiting for a server of this image.
 */
#ifndef UBD_TAKEOVER_H
#define UBD_TAKEOVER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "identity.h"
#include "image.h"
#include "options.h"
#include "transport.h"

/* The device to serve, and the settings that depend on whether it is a new one. */
struct takeover {
	const struct options *options;
	const struct transport_ops *driver;
	struct transport *transport; /* of the device to go on with; NULL: a new device */
	/* The device's settings; for a new device those of the options. */
	bool read_only;
	bool discard;
	uint32_t block_size; /* logical, bytes; 0: the image's */
	/* What the driver knows about the device that is taken over. */
	struct transport_info info;
	struct identity identity;
};

/*
 * Decides which device to serve, and fills in *@ret_takeover; the caller owns its transport.
 * @kept_fd is what the service manager kept for us, or -1; if it kept one, options for new devices
 * only apply to the first start. Waits for the device's last server to end. The caller keeps
 * @options. < 0 with @err set.
 */
int takeover_co_begin(const struct options *options, const struct transport_ops *driver,
		      int kept_fd, struct takeover *ret_takeover, GError **err);

/*
 * Checks that @file, the bottom node of the image, locked but not read yet, is the file for which
 * the device was created, and has not been changed while nobody served the device. If so, this
 * process becomes the server of the device, before it changes anything itself: *ret_char_fd is set
 * to the server's file, unless there is one already, or another file is forced upon the device. < 0
 * with @err set.
 */
int takeover_claim(const struct takeover *takeover, const struct image *file, int *ret_char_fd,
		   GError **err);

/*
 * Records for the next server that this image, which may have been forced upon the device, is the
 * device's. Before END_RECOVERY. 0 or -errno.
 */
int takeover_keep_image(const struct takeover *takeover, const struct image *image);

#endif
