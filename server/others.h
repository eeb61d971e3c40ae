/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other disks of ubd on this machine, by what sysfs tells everybody. */
#ifndef UBD_OTHERS_H
#define UBD_OTHERS_H

#include <stdint.h>

/* The number of a disk whose "serial" or "uuid" has this value, -1 if there is none. */
int64_t others_find(const char *attribute, const char *value);

#endif
