/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings in JSON, escaped as QEMU does it: nothing but ASCII. */
#ifndef UBD_JSON_STRING_H
#define UBD_JSON_STRING_H

#include <glib.h>

/* Appends @text in quotes. What is not UTF-8 in it becomes U+FFFD. */
void json_append_string(GString *json, const char *text);

#endif
