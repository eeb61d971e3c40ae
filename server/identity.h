/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names by which a disk is found again. Unless given, they are derived from the machine's ID,
 * the image's path and the snapshot, so that an image has the same names after each start, and
 * different images have different names.
 */
#ifndef UBD_IDENTITY_H
#define UBD_IDENTITY_H

#include <glib.h>
#include <stdbool.h>

#include "transport.h"

/* Describes valid serial numbers, for people. */
#define IDENTITY_SERIAL_RULE "at most 63 letters, digits and \"+-.:=@_\""

bool identity_is_serial(const char *text);

/* @snapshot may be NULL. */
void identity_derive(const char *machine_id, const char *path, const char *snapshot,
		     struct identity *ret_identity);

/*
 * The identity on this machine of an image that has this name (image_stable_name()); without a
 * name, NULL, it has none. @snapshot may be NULL.
 */
void identity_of_image(const char *stable_name, const char *snapshot,
		       struct identity *ret_identity);

#endif
