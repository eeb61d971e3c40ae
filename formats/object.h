/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Objects that a user defines for images to refer to by ID, as QEMU's --object does it:
 *
 *	secret,id=ID,file=FILE
 *	{"qom-type": "secret", "id": "ID", "file": "FILE"}
 */
#ifndef UBD_OBJECT_H
#define UBD_OBJECT_H

#include <glib.h>

/* Creates the object, before the first image is opened. Errors are worded as QEMU's. */
int object_create(const char *text, GError **err);

/*
 * What an object with "help" among its properties asks for: the types of objects, or the properties
 * of its type. NULL if it does not ask. The caller frees it.
 */
char *object_help(const char *text);

#endif
