/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Texts in what the server answers to a client. */
#ifndef UBD_ANSWER_H
#define UBD_ANSWER_H

#include <json-glib/json-glib.h>

/* File names, and messages that name one, may be any bytes, but JSON is UTF-8. */
static inline void answer_set_text(JsonObject *object, const char *name, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	json_object_set_string_member(object, name, valid);
}

#endif
