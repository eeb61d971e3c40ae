// SPDX-License-Identifier: GPL-2.0-or-later
/* The part of an image's information that its format alone has; see info_text.h. */
#include "info_text.h"

#include <stdio.h>
#include <string.h>

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

void info_print_specific(const struct image_info *info)
{
	bool is_v3;

	if (strcmp(info->format, "qcow2") != 0)
		return;
	is_v3 = strcmp(info->compat, "0.10") != 0;
	printf("Format specific information:\n"
	       "    compat: %s\n"
	       "    compression type: %s\n",
	       info->compat, info->compression_type);
	/* Version 2 has no room in its header for the others. */
	if (is_v3)
		printf("    lazy refcounts: %s\n", truth(info->lazy_refcounts));
	printf("    refcount bits: %u\n", info->refcount_bits);
	if (is_v3)
		printf("    corrupt: %s\n"
		       "    extended l2: %s\n",
		       truth(info->corrupt), truth(info->extended_l2));
}
