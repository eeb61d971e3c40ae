// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "tool.h"

void command_print_all(const struct command *commands, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		printf("  %-10s        %s\n", commands[i].name, commands[i].summary);
}

bool command_parse(const struct command *command, const GOptionEntry *entries, char **argv)
{
	g_autofree char *name = g_strdup_printf("%s %s", tool_name(), command->name);
	g_autoptr(GError) err = NULL;
	bool ok;

	/* For "Usage: ubd-img create ..." */
	g_set_prgname(name);
	ok = options_parse(entries, command->summary, argv, &err);
	if (!ok)
		command_usage_error(command, "%s", err->message);
	return ok;
}

int command_usage_error(const struct command *command, const char *fmt, ...)
{
	g_autofree char *reason = NULL;
	va_list args;

	va_start(args, fmt);
	reason = g_strdup_vprintf(fmt, args);
	va_end(args);
	tool_error("%s; try '%s %s --help'", reason, tool_name(), command->name);
	return EXIT_FAILURE;
}

static int hint(const char *fmt, const char *word)
{
	g_autofree char *reason = g_strdup_printf(fmt, word);

	tool_error("%s; try '%s --help'", reason, tool_name());
	return EXIT_FAILURE;
}

static int run_command(const struct command *commands, size_t nr, char **argv)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&commands[i], argv);
	return hint("Command not found: %s", argv[0]);
}

int command_main(const char *tool, const struct command *commands, size_t nr,
		 void (*print_help)(void), int argc, char **argv)
{
	tool_init(tool, argc ? argv[0] : NULL);
	if (argc < 2)
		return hint("Not enough arguments%s", "");
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)
		print_help();
	else if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)
		tool_print_version();
	else if (argv[1][0] == '-')
		return hint("Unknown option %s", argv[1]);
	else
		return tool_finish(run_command(commands, nr, argv + 1));
	return tool_finish(EXIT_SUCCESS);
}
