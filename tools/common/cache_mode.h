/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cache modes by the names that QEMU gives them. */
#ifndef UBD_CACHE_MODE_H
#define UBD_CACHE_MODE_H

#include <stdbool.h>

struct cache_mode {
	unsigned open_flags; /* IMAGE_DIRECT, IMAGE_NO_FLUSH */
	bool writethrough;   /* each write is durable before it completes */
};

/* none (or off), directsync, writeback, writethrough, unsafe. False for another name. */
bool cache_mode_parse(const char *name, struct cache_mode *ret_mode);

/* What writes carry in this mode: IMAGE_REQ_FUA or nothing. */
unsigned cache_mode_write_flags(const struct cache_mode *mode);

#endif
