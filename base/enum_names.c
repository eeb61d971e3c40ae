// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of values; see enum_names.h. */
#include "enum_names.h"

#include <string.h>

bool enum_from_name(const struct enum_name *names, const char *name, uint64_t *ret_value)
{
	for (; names->name; names++) {
		if (strcmp(names->name, name) == 0) {
			*ret_value = names->value;
			return true;
		}
	}
	return false;
}

const char *enum_to_name(const struct enum_name *names, uint64_t value)
{
	while (names->name && names->value != value)
		names++;
	return names->name;
}
