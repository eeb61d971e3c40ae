// SPDX-License-Identifier: GPL-2.0-or-later
/* What the commands of ubd-io share: how their words are parsed. */
#include <errno.h>
#include <stdio.h>

#include "io.h"
#include "options.h"
#include "tool.h"
#include "values.h"

void io_print_usage(const struct io_command *command)
{
	printf("%s%s%s -- %s\n", command->name, *command->usage ? " " : "", command->usage,
	       command->summary);
}

bool io_parse(const struct io_command *command, const GOptionEntry *entries, char **argv)
{
	g_autoptr(GError) err = NULL;

	if (options_parse(entries, NULL, argv, &err))
		return true;
	tool_error("%s: %s; try 'help %s'", command->name, err->message, command->name);
	return false;
}

bool io_parse_size(const char *text, uint64_t *ret_bytes)
{
	int ret = text ? size_parse(text, ret_bytes) : 0;

	if (ret == -ERANGE)
		printf("Parsing error: argument too large -- %s\n", text);
	else if (ret)
		printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n",
		       text);
	return !ret;
}

bool io_parse_pattern(const char *text, uint8_t *ret_byte)
{
	uint64_t byte;

	if (number_parse(text, 0, UINT8_MAX, &byte)) {
		printf("%s is not a valid pattern byte\n", text);
		return false;
	}
	*ret_byte = byte;
	return true;
}
