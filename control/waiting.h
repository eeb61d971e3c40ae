/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices that wait for a server of an image. A second device or export of the image would change
 * it behind the back of what is mounted there.
 */
#ifndef UBD_WAITING_H
#define UBD_WAITING_H

#include <glib.h>
#include <stdint.h>

#include "transport.h"

/*
 * Opens the driver's device that waits for a server of the image with this UUID, all 16 bytes. 0,
 * with *ret_transport NULL if there is none. < 0 with @err set: there are several, or there may be
 * one that cannot be opened. @filename is for messages.
 */
int waiting_open(const struct transport_ops *driver, const uint8_t *uuid, const char *filename,
		 struct transport **ret_transport, struct transport_info *ret_info, GError **err);

/* Always < 0 with @err set: @transport waits, so the image must not be served otherwise. */
int waiting_refuse(const struct transport *transport, const char *filename, GError **err);

#endif
