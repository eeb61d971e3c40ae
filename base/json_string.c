// SPDX-License-Identifier: GPL-2.0-or-later
#include "json_string.h"

#include <string.h>

static void append_char(GString *json, gunichar c)
{
	static const char escaped[] = "\"\\\b\f\n\r\t";
	static const char letters[] = "\"\\bfnrt";
	const char *found = c && c < 0x80 ? strchr(escaped, c) : NULL;

	if (found)
		g_string_append_printf(json, "\\%c", letters[found - escaped]);
	else if (c >= 0x10000)
		g_string_append_printf(json, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
				       0xdc00 + (c & 0x3ff));
	else if (c < 0x20 || c >= 0x7f)
		g_string_append_printf(json, "\\u%04X", c);
	else
		g_string_append_c(json, c);
}

void json_append_string(GString *json, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	g_string_append_c(json, '"');
	for (const char *c = valid; *c; c = g_utf8_next_char(c))
		append_char(json, g_utf8_get_char(c));
	g_string_append_c(json, '"');
}
