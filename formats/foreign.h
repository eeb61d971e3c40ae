/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats of other programs: disks of other hypervisors, archives, compressed files. They are
 * recognised so that they are not taken for raw disks; all that can be done with one is to say
 * what it is (IMAGE_INFO_ONLY).
 */
#ifndef UBD_FOREIGN_H
#define UBD_FOREIGN_H

#include "image_ops.h"

/* The format of that name, NULL if it is none of these. */
const struct format_ops *foreign_find(const char *name);

/* Sets @err to what such a file is and what can be done about it; returns -EMEDIUMTYPE. */
int foreign_refuse(const struct format_ops *ops, const char *filename, GError **err);

#endif
