/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks that clients of the control socket add: what --allow-add lets them have, whether or not
 * there is a sandbox.
 */
#ifndef UBD_ADDED_H
#define UBD_ADDED_H

#include <glib.h>

#include "options.h"

/*
 * The options of a disk that a client adds; NULL with @err set. Its image, and what that names, are
 * in @places (as of --allow-add). Free them with options_free(). Blocks; one call at a time.
 */
struct options *added_options(char *const *places, const char *image, char *const *words,
			      GError **err);

#endif
