/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs in the usual notation, 00112233-4455-6677-8899-aabbccddeeff. */
#ifndef UBD_UUID_H
#define UBD_UUID_H

#include <stdbool.h>
#include <stdint.h>

/* False if @text is not a UUID; then *ret_uuid stays as it is. */
bool uuid_parse(const char *text, uint8_t ret_uuid[16]);

/* The caller frees the text. */
char *uuid_to_text(const uint8_t uuid[16]);

#endif
