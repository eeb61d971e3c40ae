/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cache modes by the names that QEMU gives them. */
#ifndef UBD_CACHE_MODE_H
#define UBD_CACHE_MODE_H

#include <stdbool.h>

struct cache_mode {
	unsigned open_flags; /* IMAGE_DIRECT, IMAGE_NO_FLUSH */
	bool writethrough;   /* each write is durable before it completes */
};

/* none (or off), directsync, writeback, writethrough or unsafe. False for any other name. */
bool cache_mode_parse(const char *name, struct cache_mode *ret_mode);

/* Flags for writes in this mode: IMAGE_REQ_FUA or none. */
unsigned cache_mode_write_flags(const struct cache_mode *mode);

#endif
