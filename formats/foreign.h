/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats of other programs: disks of other hypervisors, archives, compressed files. They are
 * recognised so that they are not mistaken for raw disks. The only thing that can be done with one
 * is to say what it is (IMAGE_INFO_ONLY).
 */
#ifndef UBD_FOREIGN_H
#define UBD_FOREIGN_H

#include "image_ops.h"

/* The format with that name, or NULL if it is not one of these. */
const struct format_ops *foreign_find(const char *name);

/*
 * Sets @err to a message that says what the file is and what to do about it. Returns -EMEDIUMTYPE.
 */
int foreign_refuse(const struct format_ops *ops, const char *filename, GError **err);

#endif
