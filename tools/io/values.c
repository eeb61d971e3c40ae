// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the commands of ubd-io share: how their words are parsed. getopt() does it, so that options
 * may follow other words, and messages are those that qemu-io's users know.
 */
#include "values.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "io.h"
#include "tool.h"

int io_usage(const struct io_command *command)
{
	printf("%s%s%s -- %s\n", command->name, command->usage ? " " : "", command->usage ?: "",
	       command->summary);
	return -EINVAL;
}

static void print_line(FILE *stream, const char *fmt, va_list args)
{
	vfprintf(stream, fmt, args);
	fputc('\n', stream);
}

int io_complain(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	print_line(stderr, fmt, args);
	va_end(args);
	return -EINVAL;
}

int io_refuse(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	print_line(stdout, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* ---- values ---- */

int io_parse_size(const char *text, uint64_t *ret_bytes)
{
	int ret = text ? tool_parse_size(text, ret_bytes) : 0;

	if (ret == -ERANGE)
		return io_refuse("Parsing error: argument too large -- %s", text);
	if (ret)
		return io_refuse("Parsing error: non-numeric argument, or "
				 "extraneous/unrecognized suffix -- %s",
				 text);
	return 0;
}

static int parse_byte(const char *text, struct io_byte *ret_byte)
{
	uint64_t byte;

	if (number_parse(text, 0, UINT8_MAX, &byte))
		return io_refuse("%s is not a valid pattern byte", text);
	*ret_byte = (struct io_byte){ true, byte };
	return 0;
}

/* ---- options ---- */

static const struct io_option *find_option(const struct io_option *options, int letter)
{
	while (options->letter && options->letter != letter)
		options++;
	return options->letter ? options : NULL;
}

static int take_option(const struct io_option *option, const char *value)
{
	struct io_size *size = option->ret_value;

	switch (option->type) {
	case IO_OPTION_FLAG:
		*(bool *)option->ret_value = true;
		return 0;
	case IO_OPTION_COUNT:
		++*(unsigned *)option->ret_value;
		return 0;
	case IO_OPTION_TEXT:
		*(const char **)option->ret_value = value;
		return 0;
	case IO_OPTION_BYTE:
		return parse_byte(value, option->ret_value);
	case IO_OPTION_SIZE:
		size->given = true;
		return io_parse_size(value, &size->bytes);
	}
	g_assert_not_reached();
}

/* "abP:" for getopt(). */
static char *option_letters(const struct io_option *options)
{
	GString *letters = g_string_new(NULL);

	for (; options->letter; options++) {
		g_string_append_c(letters, options->letter);
		if (options->type != IO_OPTION_FLAG && options->type != IO_OPTION_COUNT)
			g_string_append_c(letters, ':');
	}
	return g_string_free(letters, FALSE);
}

int io_parse(const struct io_command *command, const struct io_option *options, int min_words,
	     int max_words, char **argv, char ***ret_words)
{
	g_autofree char *letters = option_letters(options);
	int argc = g_strv_length(argv), letter;

	/* Starts anew. */
	optind = 0;
	while ((letter = getopt(argc, argv, letters)) != -1) {
		const struct io_option *option = find_option(options, letter);

		if (!option)
			return io_usage(command);
		if (take_option(option, optarg))
			return -EINVAL;
	}
	if (argc - optind < min_words || (max_words >= 0 && argc - optind > max_words))
		return io_usage(command);
	*ret_words = argv + optind;
	return 0;
}
