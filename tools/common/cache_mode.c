// SPDX-License-Identifier: GPL-2.0-or-later
/* Cache modes by the names that QEMU gives them; see cache_mode.h. */
#include "cache_mode.h"

#include <glib.h>
#include <string.h>

#include "image.h"

static const struct {
	const char *name;
	struct cache_mode mode;
} modes[] = {
	{ "none", { .open_flags = IMAGE_DIRECT } },
	{ "off", { .open_flags = IMAGE_DIRECT } },
	{ "directsync", { .open_flags = IMAGE_DIRECT, .writethrough = true } },
	{ "writeback", { .open_flags = 0 } },
	{ "writethrough", { .writethrough = true } },
	{ "unsafe", { .open_flags = IMAGE_NO_FLUSH } },
};

bool cache_mode_parse(const char *name, struct cache_mode *ret_mode)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		if (strcmp(name, modes[i].name) == 0) {
			*ret_mode = modes[i].mode;
			return true;
		}
	}
	return false;
}

unsigned cache_mode_write_flags(const struct cache_mode *mode)
{
	return mode->writethrough ? IMAGE_REQ_FUA : 0;
}
