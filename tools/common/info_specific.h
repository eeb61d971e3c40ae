/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image's format alone tells of it, and its snapshots: as text and as JSON. */
#ifndef UBD_INFO_SPECIFIC_H
#define UBD_INFO_SPECIFIC_H

#include <jansson.h>

#include "image.h"

/* "Format specific information:" and what follows; nothing for a format without. */
void info_print_specific(const struct image_info *info);

/* The same as the member "format-specific" of @object. */
void info_add_specific(json_t *object, const struct image_info *info);

/* "Snapshot list:" and what follows; nothing for an empty list of struct image_snapshot. */
void info_print_snapshots(const GArray *list);

#endif
