/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other disks of a driver on this machine: what everybody sees in sysfs, or what the driver tells.
 */
#ifndef UBD_OTHERS_H
#define UBD_OTHERS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport.h"

struct other {
	uint32_t id;
	bool unprivileged; /* any user may have chosen its names */
};

/* The kernel's folder of disks; tests use a different one. */
extern const char *others_folder;

/*
 * All disks whose "serial" or "uuid" has this value, as struct other, privileged ones first and
 * then by number. The caller frees it.
 */
GArray *others_find(const struct transport_ops *driver, const char *attribute, const char *value);

#endif
