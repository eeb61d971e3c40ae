// SPDX-License-Identifier: GPL-2.0-or-later
/* UUIDs as text; see uuid.h. */
#include "uuid.h"

#include <glib.h>

bool uuid_parse(const char *text, uint8_t ret_uuid[16])
{
	if (!g_uuid_string_is_valid(text))
		return false;
	for (int i = 0; i < 16; i++) {
		text += *text == '-';
		ret_uuid[i] = g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]);
		text += 2;
	}
	return true;
}

char *uuid_to_text(const uint8_t uuid[16])
{
	GString *text = g_string_new(NULL);

	for (int i = 0; i < 16; i++)
		g_string_append_printf(text, "%s%02x", i >= 4 && i <= 10 && i % 2 == 0 ? "-" : "",
				       uuid[i]);
	return g_string_free(text, FALSE);
}
