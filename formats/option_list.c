// SPDX-License-Identifier: GPL-2.0-or-later
#include "option_list.h"

#include <glib.h>
#include <string.h>

#include "image.h"

char *option_list_next(const char **list)
{
	GString *part = g_string_new(NULL);
	const char *c = *list;

	while (*c && (c[0] != ',' || c[1] == ',')) {
		g_string_append_c(part, *c);
		c += c[0] == ',' ? 2 : 1;
	}
	*list = *c ? c + 1 : NULL;
	return g_string_free(part, FALSE);
}

bool image_has_option(const struct image_option *options, const char *name)
{
	for (; options->name; options++)
		if (strcmp(options->name, name) == 0)
			return true;
	return false;
}
