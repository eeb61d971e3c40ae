/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of options, as in -o. */
#ifndef UBD_OPTIONS_H
#define UBD_OPTIONS_H

#include <glib.h>
#include <stdbool.h>

/*
 * An option list, "name=value,name2=value2": a value goes up to the next comma
 * that is not doubled, a name alone means "on". Adds to @options, name -> value,
 * both freed with the table. False for a list that has an empty part.
 */
bool option_list_parse(const char *list, GHashTable *options);

/* Whether it asks for help: "help" or "?" is one of its parts. */
bool option_list_asks_help(const char *list);

/* The other way round: a value with its commas doubled. The caller frees it. */
char *option_value_quote(const char *value);

#endif
