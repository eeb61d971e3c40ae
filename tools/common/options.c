// SPDX-License-Identifier: GPL-2.0-or-later
/* Option lists; see options.h. */
#include "options.h"

#include <stdbool.h>
#include <string.h>

#include "option_list.h"

/* As in QEMU, "noNAME" means NAME=off; except for a name that begins so itself. */
static bool is_negated(const char *name)
{
	return g_str_has_prefix(name, "no") && name[2] && strcmp(name, "nocow") != 0;
}

bool option_list_parse(const char *list, GHashTable *options)
{
	while (list) {
		g_autofree char *part = option_list_next(&list);
		char *value = strchr(part, '=');

		if (!*part || value == part)
			return false;
		if (value) {
			*value++ = '\0';
			g_hash_table_replace(options, g_strdup(part), g_strdup(value));
		} else if (is_negated(part)) {
			g_hash_table_replace(options, g_strdup(part + 2), g_strdup("off"));
		} else {
			g_hash_table_replace(options, g_strdup(part), g_strdup("on"));
		}
	}
	return true;
}

bool option_list_asks_help(const char *list)
{
	while (list) {
		g_autofree char *part = option_list_next(&list);

		if (strcmp(part, "help") == 0 || strcmp(part, "?") == 0)
			return true;
	}
	return false;
}

char *option_value_quote(const char *value)
{
	GString *quoted = g_string_new(value);

	g_string_replace(quoted, ",", ",,", 0);
	return g_string_free(quoted, FALSE);
}
