/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tools that consist of commands: TOOL COMMAND [OPTION...] [WORD...]. */
#ifndef UBD_COMMAND_H
#define UBD_COMMAND_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

struct command {
	const char *name;
	const char *summary; /* for --help of the command and of the tool */
	int (*run)(const struct command *command, char **argv); /* an exit status */
};

/*
 * main() of such a tool. @print_help describes the tool, command_print_all() its commands. @options
 * are those in front of the command beside --help and --version, NULL: there are none.
 */
int command_main(const char *tool, const struct command *commands, size_t nr,
		 void (*print_help)(void), const GOptionEntry *options, int argc, char **argv);

/* Prints one line per command. */
void command_print_all(const struct command *commands, size_t nr);

/* Parses the words of a command, or prints an error. */
bool command_parse(const struct command *command, const GOptionEntry *entries, char **argv);

/* Prints what is wrong with the words, and where to find help. Returns 1, the exit status. */
int command_usage_error(const struct command *command, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
