/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON on standard output, laid out as QEMU's tools do it: json-glib's own
 * printer puts a blank before the colon, and scripts that grep for `"format": "raw"` would fail.
 */
#ifndef UBD_JSON_TEXT_H
#define UBD_JSON_TEXT_H

#include <json-glib/json-glib.h>
#include <stdbool.h>

/* Prints the tree and a newline. File names that are not UTF-8 get U+FFFD for what is not. */
void json_print(JsonNode *node);

/* Adds a member of that name, for short. */
void json_add_string(JsonBuilder *builder, const char *name, const char *value);
void json_add_int(JsonBuilder *builder, const char *name, gint64 value);
void json_add_bool(JsonBuilder *builder, const char *name, gboolean value);

/*
 * What another program has sent: a member, or the default ("", 0, false) if it is missing or has
 * another type.
 */
const char *json_get_text(JsonObject *object, const char *name);
gint64 json_get_int(JsonObject *object, const char *name);
bool json_get_bool(JsonObject *object, const char *name);

#endif
