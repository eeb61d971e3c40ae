/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nbd.ko and the kernel say of a device in /sys/block. */
#ifndef UBD_NBD_SYSFS_H
#define UBD_NBD_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What tells the device's connection to a server from the next one, and that nobody can choose; 0:
 * there is none. Whoever the server is, and however dead.
 */
uint64_t nbd_connection(uint32_t id);

static inline bool nbd_is_connected(uint32_t id)
{
	return nbd_connection(id);
}

/*
 * Whether the process that has connected the device may still be there. The lock of a server with
 * another /run, as in a container, is not seen here.
 */
bool nbd_may_have_process(uint32_t id);

/* The contents of a file without the newline; NULL: there is none. The caller frees it. */
char *nbd_attribute(uint32_t id, const char *name);

/* Only if the file is ours to write; otherwise it keeps what it has. */
void nbd_write_attribute(uint32_t id, const char *name, unsigned value);

#endif
