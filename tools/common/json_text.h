/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON on standard output, laid out and escaped as QEMU's tools do it: scripts grep for
 * `"format": "raw"`.
 */
#ifndef UBD_JSON_TEXT_H
#define UBD_JSON_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Prints the tree and a newline. File names that are not UTF-8 get U+FFFD for what is not. */
void json_print(const json_t *value);

/*
 * Add a member of that name, or an element. The program ends if there is no memory. A string may be
 * any bytes. Of an integer above INT64_MAX, the negative number of the same bits is printed.
 */
void json_add(json_t *object, const char *name, json_t *take_value);
void json_add_string(json_t *object, const char *name, const char *value);
void json_add_int(json_t *object, const char *name, int64_t value);
void json_add_bool(json_t *object, const char *name, bool value);
void json_append(json_t *array, json_t *take_value);

/*
 * What another program has sent: a member, or the default ("", 0, false) if it is missing or has
 * another type.
 */
const char *json_get_text(const json_t *object, const char *name);
int64_t json_get_int(const json_t *object, const char *name);
bool json_get_bool(const json_t *object, const char *name);

#endif
