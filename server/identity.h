/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * By which names a disk is found again. Unless they are given they are made of the machine's ID,
 * the image's path and the snapshot, so that the same image has the same names after each start,
 * and another one has others.
 */
#ifndef UBD_IDENTITY_H
#define UBD_IDENTITY_H

#include <glib.h>
#include <linux/ubd_cmd.h>
#include <stdbool.h>
#include <stdint.h>

/* What a serial number may be, for people. */
#define IDENTITY_SERIAL_RULE "at most 63 letters, digits and \"+-.:=@_\""

/* The UUID in the usual notation, or false. */
bool identity_parse_uuid(const char *text, uint8_t ret_uuid[16]);

bool identity_is_serial(const char *text);

/* @snapshot may be NULL. */
void identity_derive(const char *machine_id, const char *path, const char *snapshot,
		     struct ubd_identity *ret_identity);

/* Of an image on this machine, by its name; "null:SIZE" has none. Blocks. */
void identity_of_file(const char *filename, const char *snapshot,
		      struct ubd_identity *ret_identity);

#endif
