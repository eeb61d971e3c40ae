/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other disks of ubd on this machine, by what sysfs tells everybody. */
#ifndef UBD_OTHERS_H
#define UBD_OTHERS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct other {
	uint32_t id;
	bool unprivileged; /* its names are what any user has made up */
};

/* The kernel's folder of disks; tests have another one. */
extern const char *others_folder;

/*
 * All disks whose "serial" or "uuid" has this value, as struct other, privileged ones first and
 * then by number. The caller frees it.
 */
GArray *others_find(const char *attribute, const char *value);

#endif
