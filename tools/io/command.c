// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-io: the table of commands, and how a line finds and runs one.
 *
 * Words of a line are separated by blanks; there is no quoting.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aio.h"
#include "io.h"
#include "tool.h"
#include "values.h"

#define MAX_SLEEP_MS (24 * 60 * 60 * 1000)

static int co_cmd_abort(struct io_session *session, const struct io_command *command, char **argv);
static int co_cmd_help(struct io_session *session, const struct io_command *command, char **argv);
static int co_cmd_quit(struct io_session *session, const struct io_command *command, char **argv);
static int co_cmd_sigraise(struct io_session *session, const struct io_command *command,
			   char **argv);
static int co_cmd_sleep(struct io_session *session, const struct io_command *command, char **argv);

#define REPORT_HELP                                                                                \
	" -C   print the statistics as numbers: bytes,requests,time,bytes/s,requests/s\n"          \
	" -q   print no statistics\n"

static const struct io_command commands[] = {
	{ "abort", NULL, 0, 0, false, "", "abort the program", NULL, co_cmd_abort },
	{ "alloc", NULL, 1, 2, true, "off [len]",
	  "print how much of a range (default: 512 bytes) is allocated in the image", NULL,
	  io_co_cmd_alloc },
	{ "close", "c", 0, 0, true, "", "close the image", NULL, io_co_cmd_close },
	{ "discard", "d", 2, -1, true, "[-Cq] off len", "discard a range", REPORT_HELP,
	  io_co_cmd_discard },
	{ "flush", "f", 0, 0, true, "", "flush all writes to stable storage", NULL,
	  io_co_cmd_flush },
	{ "help", "?", 0, 1, false, "[command]", "list the commands, or explain one", NULL,
	  co_cmd_help },
	{ "info", "i", 0, 0, true, "", "print information about the image", NULL, io_co_cmd_info },
	{ "length", "l", 0, 0, true, "", "print the size of the image", NULL, io_co_cmd_length },
	{ "map", NULL, 0, 0, true, "", "print which parts are allocated in the image", NULL,
	  io_co_cmd_map },
	{ "open", "o", 1, -1, false, "[-rsCnU] [-t cache] [-d discard] [-o options] [file]",
	  "open an image",
	  " -r   read-only\n"
	  " -C   copy on read: copy data read from a backing file to the image\n"
	  " -n   the same as -t none\n"
	  " -U   even if another program is writing to it\n"
	  " -t   cache mode: none, directsync, writeback, writethrough (default), unsafe\n"
	  " -d   discards: unmap (default) or ignore\n"
	  " -o   options of its nodes: driver=FMT,...; file.filename=FILE in place of a file\n",
	  io_co_cmd_open },
	{ "quit", "q", 0, 0, false, "", "quit the program", NULL, co_cmd_quit },
	{ "read", "r", 2, -1, true, "[-Cpqv] [-P pattern [-s off] [-l len]] off len",
	  "read a range",
	  " -P   verify that every byte read is this one; if not, the exit status is 1\n"
	  " -s   with -P, start to verify at this byte of the range\n"
	  " -l   with -P, verify this many bytes\n"
	  " -p   ignored\n"
	  " -v   dump what was read\n" REPORT_HELP,
	  io_co_cmd_read },
	{ "readv", NULL, 2, -1, true, "[-Cqv] [-P pattern] off len [len..]",
	  "read a range into several buffers",
	  " -P   verify that every byte read is this one; if not, the exit status is 1\n"
	  " -v   dump what was read\n" REPORT_HELP,
	  io_co_cmd_readv },
	{ "sigraise", NULL, 1, 1, false, "signal", "send the signal of this number to the program",
	  NULL, co_cmd_sigraise },
	{ "sleep", NULL, 1, 1, false, "ms", "wait this many milliseconds", NULL, co_cmd_sleep },
	{ "truncate", "t", 1, 3, true, "[-m preallocation] size", "set the size of the image",
	  " -m   preallocate the added space: off (default), metadata, falloc or full\n",
	  io_co_cmd_truncate },
	{ "write", "w", 2, -1, true, "[-cCfnpquz] [-P pattern | -s source_file] off len",
	  "write a range (bytes of 0xcd by default)",
	  " -P   write this byte\n"
	  " -s   write the contents of this file, repeated\n"
	  " -z   write zeroes, efficiently where the image can\n"
	  " -n   with -z, fail where it cannot\n"
	  " -u   with -z, allow unmapping\n"
	  " -f   force unit access: the write is durable when it completes\n"
	  " -c   write compressed: whole clusters, or the end of the image\n"
	  " -p   ignored\n" REPORT_HELP,
	  io_co_cmd_write },
	{ "writev", NULL, 2, -1, true, "[-Cfq] [-P pattern] off len [len..]",
	  "write a range from several buffers",
	  " -P   write this byte\n"
	  " -f   force unit access: the write is durable when it completes\n" REPORT_HELP,
	  io_co_cmd_writev },
};

static const struct io_command *find_command(const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		if (strcmp(name, commands[i].name) == 0 ||
		    g_strcmp0(name, commands[i].short_name) == 0)
			return &commands[i];
	return NULL;
}

/* ---- lines ---- */

static int check_count(const struct io_command *command, int count)
{
	if (count >= command->min_args && (command->max_args < 0 || count <= command->max_args))
		return 0;
	if (command->max_args < 0)
		tool_error("bad argument count %d to %s, expected at least %d arguments", count,
			   command->name, command->min_args);
	else if (command->min_args == command->max_args)
		tool_error("bad argument count %d to %s, expected %d arguments", count,
			   command->name, command->min_args);
	else
		tool_error("bad argument count %d to %s, expected between %d and %d arguments",
			   count, command->name, command->min_args, command->max_args);
	return -EINVAL;
}

/* The words between blanks, without empty ones. */
static char **split_words(const char *line)
{
	g_autoptr(GStrvBuilder) words = g_strv_builder_new();
	g_auto(GStrv) parts = g_strsplit_set(line, " \t\r\n", -1);

	for (char **part = parts; *part; part++)
		if (**part)
			g_strv_builder_add(words, *part);
	return g_strv_builder_end(words);
}

int io_co_run_line(struct io_session *session, const char *line)
{
	g_auto(GStrv) words = split_words(line);
	const struct io_command *command;

	if (!words[0])
		return 0;
	command = find_command(words[0]);
	if (!command) {
		tool_error("command \"%s\" not found", words[0]);
		return -EINVAL;
	}
	if (command->needs_image && !session->img) {
		tool_error("no file open, try 'help open'");
		return -EINVAL;
	}
	if (check_count(command, g_strv_length(words) - 1))
		return -EINVAL;
	return command->co_run(session, command, words);
}

/* ---- commands that need no image ---- */

static int co_cmd_abort(struct io_session *session, const struct io_command *command, char **argv)
{
	abort();
}

static int co_cmd_help(struct io_session *session, const struct io_command *command, char **argv)
{
	const struct io_command *asked = argv[1] ? find_command(argv[1]) : NULL;

	if (argv[1] && !asked) {
		printf("command %s not found\n", argv[1]);
		return -EINVAL;
	}
	if (asked) {
		io_print_usage(asked);
		if (asked->help)
			printf("\n%s\n", asked->help);
		return 0;
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		io_print_usage(&commands[i]);
	printf("\nUse 'help commandname' for extended help.\n");
	return 0;
}

static int co_cmd_quit(struct io_session *session, const struct io_command *command, char **argv)
{
	session->quit = true;
	return 0;
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	if (number_parse(text, 0, max, ret_number) == 0)
		return 0;
	printf("%s is not a valid number\n", text);
	return -EINVAL;
}

static int co_cmd_sigraise(struct io_session *session, const struct io_command *command,
			   char **argv)
{
	uint64_t number;

	if (parse_number(argv[1], SIGRTMAX, &number))
		return -EINVAL;
	/* Show the output so far, whatever the signal does. */
	fflush(stdout);
	raise(number);
	return 0;
}

static int co_cmd_sleep(struct io_session *session, const struct io_command *command, char **argv)
{
	uint64_t ms;

	if (parse_number(argv[1], MAX_SLEEP_MS, &ms))
		return -EINVAL;
	fflush(stdout);
	co_sleep_ns(ms * 1000000);
	return 0;
}
