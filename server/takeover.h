/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device of a server that died or is to leave: it is named by --recover, kept by the service
 * manager, or waits for a server of this image.
 */
#ifndef UBD_TAKEOVER_H
#define UBD_TAKEOVER_H

#include <glib.h>

#include "control.h"

/*
 * The device that is to be recovered, in *ret_control, NULL for a new one. @kept_fd is what the
 * service manager had for us, or -1: then the options that make a device are for the first start.
 * Waits for the end of its last server; the options become those of the device. < 0 with @err set.
 */
int takeover_begin(int kept_fd, struct control **ret_control, GError **err);

#endif
