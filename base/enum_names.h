/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of the names that values have in options and answers. */
#ifndef UBD_ENUM_NAMES_H
#define UBD_ENUM_NAMES_H

#include <stdbool.h>
#include <stdint.h>

/* A table ends with an entry that has no name. */
struct enum_name {
	const char *name;
	uint64_t value;
};

/* False, with nothing written, if the table does not have that name. */
bool enum_from_name(const struct enum_name *names, const char *name, uint64_t *ret_value);

/* The first name of the value; NULL if it has none. */
const char *enum_to_name(const struct enum_name *names, uint64_t value);

#endif
