// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of drivers; see transport.h. */
#include "transport.h"

#include <string.h>

const struct transport_ops *const transports[TRANSPORT_DRIVERS] = {
	[TRANSPORT_UBD] = &transport_ubd,
	[TRANSPORT_UBLK] = &transport_ublk,
	[TRANSPORT_NBD] = &transport_nbd,
};

const struct transport_ops *transport_by_name(const char *name, uint32_t *ret_id)
{
	const char *disk = g_str_has_prefix(name, "/dev/") ? name + strlen("/dev/") : name;
	guint64 id;

	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++) {
		size_t len = strlen(transports[i]->disk_name);

		if (strncmp(disk, transports[i]->disk_name, len) == 0 &&
		    g_ascii_string_to_unsigned(disk + len, 10, 0, INT32_MAX, &id, NULL)) {
			*ret_id = id;
			return transports[i];
		}
	}
	return NULL;
}
