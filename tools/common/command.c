// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_line.h"
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
	ok = command_line_parse(entries, command->summary, argv, &err);
	if (!ok)
		command_usage_error(command, "%s", err->message);
	return ok;
}

/* In the words of QEMU's tools: scripts and people know them. */
static int usage_error(const char *reason)
{
	tool_error("%s\nTry '%s --help' for more information", reason, tool_name());
	return EXIT_FAILURE;
}

int command_usage_error(const struct command *command, const char *fmt, ...)
{
	g_autofree char *reason = NULL;
	va_list args;

	va_start(args, fmt);
	reason = g_strdup_vprintf(fmt, args);
	va_end(args);
	return usage_error(reason);
}

/* ---- in front of the command ---- */

static void (*print_tool_help)(void);

static gboolean show_help(const char *option, const char *value, void *data, GError **err)
{
	print_tool_help();
	exit(tool_finish(EXIT_SUCCESS));
}

static gboolean show_version(const char *option, const char *value, void *data, GError **err)
{
	tool_print_version();
	exit(tool_finish(EXIT_SUCCESS));
}

/* What the tool's own options, which may be NULL, leave: the command's words. */
static bool parse_leading(const GOptionEntry *options, char **argv, char ***ret_words)
{
	const GOptionEntry entries[] = {
		{ "help", 'h', G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, show_help, NULL, NULL },
		{ "version", 'V', G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, show_version, NULL,
		  NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, ret_words, NULL, NULL },
	};
	g_autoptr(GArray) all = g_array_new(TRUE, FALSE, sizeof(GOptionEntry));
	g_autoptr(GError) err = NULL;

	for (; options && options->long_name; options++)
		g_array_append_val(all, *options);
	g_array_append_vals(all, entries, G_N_ELEMENTS(entries));
	if (command_line_parse_leading(&g_array_index(all, GOptionEntry, 0), argv, &err))
		return true;
	usage_error(err->message);
	return false;
}

static int run_command(const struct command *commands, size_t nr, char **argv)
{
	g_autofree char *reason = NULL;

	for (size_t i = 0; i < nr; i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&commands[i], argv);
	reason = g_strdup_printf("Command not found: %s", argv[0]);
	return usage_error(reason);
}

int command_main(const char *tool, const struct command *commands, size_t nr,
		 void (*print_help)(void), const GOptionEntry *options, int argc, char **argv)
{
	g_auto(GStrv) words = NULL;
	g_autofree char **argv_of_command = NULL;

	tool_init(tool, argc ? argv[0] : NULL);
	print_tool_help = print_help;
	if (!parse_leading(options, argv, &words))
		return EXIT_FAILURE;
	if (!words)
		return usage_error("Not enough arguments");
	/* Commands may cut their words off. */
	argv_of_command = g_memdup2(words, (g_strv_length(words) + 1) * sizeof(*words));
	return tool_finish(run_command(commands, nr, argv_of_command));
}
