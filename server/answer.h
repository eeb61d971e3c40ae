/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Members of the server's answer to a client. If there is no memory for a member, it is omitted,
 * and the server continues.
 */
#ifndef UBD_ANSWER_H
#define UBD_ANSWER_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* File names, and messages that name one, may be any bytes, but JSON is UTF-8. */
static inline void answer_set_text(json_t *object, const char *name, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	json_object_set_new(object, name, json_string(valid));
}

/* JSON's numbers are signed here: its readers cast larger ones back. */
static inline void answer_set_number(json_t *object, const char *name, uint64_t number)
{
	json_object_set_new(object, name, json_integer(number));
}

static inline void answer_set_bool(json_t *object, const char *name, bool value)
{
	json_object_set_new(object, name, json_boolean(value));
}

#endif
