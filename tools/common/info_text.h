/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of an image's information that its format alone has, as text. */
#ifndef UBD_INFO_TEXT_H
#define UBD_INFO_TEXT_H

#include "image.h"

/* "Format specific information:" and what follows; nothing for a format without. */
void info_print_specific(const struct image_info *info);

/* "Snapshot list:" and what follows; nothing for an empty list of struct image_snapshot. */
void info_print_snapshots(const GArray *list);

#endif
