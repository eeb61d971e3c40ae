// SPDX-License-Identifier: GPL-2.0-or-later
/* Plays a machine without the libraries that are loaded when they are needed, for qcow2-codec.c. */
#include <errno.h>

#include "error.h"
#include "late_library.h"

int __wrap_late_library_load(struct late_library *library, GError **err);

int __wrap_late_library_load(struct late_library *library, GError **err)
{
	return error_refuse(err, -ELIBACC, "there is no %s", library->name);
}
