/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Command lines on GLib's option parser, which lacks two things that users of QEMU's tools
 * write: the value of a short option right behind its letter (-fraw), and long names that are
 * shortened (--out=json). What is wrong is said in the words of QEMU's tools.
 */
#ifndef UBD_COMMAND_LINE_H
#define UBD_COMMAND_LINE_H

#include <glib.h>
#include <stdbool.h>

/*
 * Parses @argv (argv[0] is skipped) by @entries, whose last real one is
 * G_OPTION_REMAINING. Texts that the entries point to are the caller's to
 * free. @summary is for --help, which prints and exits; NULL: there is no --help.
 */
bool command_line_parse(const GOptionEntry *entries, const char *summary, char *const *argv,
			GError **err);

/*
 * The same of the options in front of the first word that is not one: that word and everything
 * behind it are what remains.
 */
bool command_line_parse_leading(const GOptionEntry *entries, char *const *argv, GError **err);

#endif
