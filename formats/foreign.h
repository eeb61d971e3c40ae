/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Formats of other programs: disks of other hypervisors, archives, compressed files. They are
 * recognised so that they are not taken for raw disks; all that can be done with one is to say
 * what it is (IMAGE_INFO_ONLY).
 */
#ifndef UBD_FOREIGN_H
#define UBD_FOREIGN_H

#include "image_ops.h"

/* Everything but what is at the end of a file shows within this many bytes of its start. */
#define FOREIGN_HEAD_BYTES 512
/* And the rest within this many of its end. */
#define FOREIGN_TAIL_BYTES 512

/* The format of a file that starts with these bytes, NULL if it is none of these. */
const struct image_ops *foreign_probe_head(const uint8_t *head, size_t bytes);

/* The format of a file that ends with these FOREIGN_TAIL_BYTES, NULL if it is none of these. */
const struct image_ops *foreign_probe_tail(const uint8_t *tail);

/* The format of that name, NULL if it is none of these. */
const struct image_ops *foreign_find(const char *name);

/* Sets @err to what such a file is and what can be done about it; returns -EMEDIUMTYPE. */
int foreign_refuse(const struct image_ops *ops, const char *filename, GError **err);

#endif
