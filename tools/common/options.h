/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines on GLib's option parser, which lacks two things that users of QEMU's tools
 * write: the value of a short option right behind its letter (-fraw), and long names that are
 * shortened (--out=json). What is wrong is said in the words of QEMU's tools.
 */
#ifndef UBD_OPTIONS_H
#define UBD_OPTIONS_H

#include <glib.h>
#include <stdbool.h>

/*
 * Parses @argv (argv[0] is skipped) by @entries, whose last real one is
 * G_OPTION_REMAINING. Texts that the entries point to are the caller's to
 * free. @summary is for --help, which prints and exits; NULL: there is no --help.
 */
bool options_parse(const GOptionEntry *entries, const char *summary, char *const *argv,
		   GError **err);

/*
 * The same of the options in front of the first word that is not one: that word and everything
 * behind it are what remains.
 */
bool options_parse_leading(const GOptionEntry *entries, char *const *argv, GError **err);

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
