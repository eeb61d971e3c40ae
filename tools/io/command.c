// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-io: the table of commands, and how a line finds and runs one.
 *
 * Words of a line are separated by spaces; there is no quoting.
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

#define VERIFY_HELP                                                                                \
	" -P   verify that every byte read is this one; if not, the exit status is 1\n"            \
	" -v   dump what was read\n"

#define ASYNC_HELP                                                                                 \
	" The command succeeds when the request has started; aio_flush waits until it is done.\n"

#define REGISTER_HELP " -r   accepted; memory is registered where that is useful\n"

/* The names, the options and the summaries are QEMU's: they are printed for wrong usage. */
static const struct io_command commands[] = {
	{
		.name = "abort",
		.summary = "simulate a program crash using abort(3)",
		.co_run = co_cmd_abort,
	},
	{
		.name = "aio_discard",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.changes = true,
		.usage = "[-Cq] off len",
		.summary = "asynchronously discards a number of bytes",
		.help = REPORT_HELP ASYNC_HELP,
		.co_run = io_co_cmd_aio_discard,
	},
	{
		.name = "aio_flush",
		.needs_image = true,
		.summary = "completes all outstanding aio requests",
		.co_run = io_co_cmd_aio_flush,
	},
	{
		.name = "aio_read",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.usage = "[-Ciqrv] [-P pattern] off len [len..]",
		.summary = "asynchronously reads a number of bytes",
		.help = VERIFY_HELP REPORT_HELP REGISTER_HELP
		" -i   only count an invalid request\n" ASYNC_HELP,
		.co_run = io_co_cmd_aio_read,
	},
	{
		.name = "aio_write",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.changes = true,
		.usage = "[-Cfiqruz] [-P pattern] off len [len..]",
		.summary = "asynchronously writes a number of bytes",
		.help = " -P   write this byte\n"
			" -z   write zeroes, efficiently where the image can\n"
			" -u   with -z, allow unmapping\n"
			" -f   force unit access: the write is durable when it completes\n"
			" -i   only count an invalid request\n" REPORT_HELP REGISTER_HELP
				ASYNC_HELP,
		.co_run = io_co_cmd_aio_write,
	},
	{
		.name = "alloc",
		.short_name = "a",
		.min_args = 1,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset [count]",
		.summary = "checks if offset is allocated in the file",
		.co_run = io_co_cmd_alloc,
	},
	{
		.name = "break",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "event tag",
		.summary = "sets a breakpoint on event and tags the stopped request as tag",
		.co_run = io_co_cmd_break,
	},
	{
		.name = "close",
		.short_name = "c",
		.needs_image = true,
		.summary = "close the current open file",
		.co_run = io_co_cmd_close,
	},
	{
		.name = "discard",
		.short_name = "d",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.changes = true,
		.usage = "[-Cq] off len",
		.summary = "discards a number of bytes at a specified offset",
		.help = REPORT_HELP,
		.co_run = io_co_cmd_discard,
	},
	{
		.name = "flush",
		.short_name = "f",
		.needs_image = true,
		.summary = "flush all in-core file state to disk",
		.co_run = io_co_cmd_flush,
	},
	{
		.name = "help",
		.short_name = "?",
		.max_args = 1,
		.usage = "[command]",
		.summary = "help for one or all commands",
		.co_run = co_cmd_help,
	},
	{
		.name = "info",
		.short_name = "i",
		.needs_image = true,
		.summary = "prints information about the current file",
		.co_run = io_co_cmd_info,
	},
	{
		.name = "length",
		.short_name = "l",
		.needs_image = true,
		.summary = "gets the length of the current file",
		.co_run = io_co_cmd_length,
	},
	{
		/* QEMU prints two blanks. */
		.name = "map",
		.needs_image = true,
		.usage = "",
		.summary = "prints the allocated areas of a file",
		.co_run = io_co_cmd_map,
	},
	{
		.name = "open",
		.short_name = "o",
		.min_args = 1,
		.max_args = -1,
		.usage = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
		.summary = "open the file specified by path",
		.help = " -r   read-only\n"
			" -s   write to a temporary overlay instead of the image\n"
			" -C   copy on read: copy data read from a backing file to the image\n"
			" -n   the same as -t none\n"
			" -U   even if another program is writing to it\n"
			" -t   cache mode: none, directsync, writeback, writethrough (default), "
			"unsafe\n"
			" -d   discards: unmap (default) or ignore\n"
			" -i   I/O engine: threads, io_uring or native; only the program's -i has an "
			"effect\n"
			" -k   the same as -i native\n"
			" -o   options of its nodes: driver=FMT,...; file.filename=FILE in place of a "
			"file\n",
		.co_run = io_co_cmd_open,
	},
	{
		.name = "quit",
		.short_name = "q",
		.max_args = -1,
		.summary = "exit the program",
		.co_run = co_cmd_quit,
	},
	{
		.name = "read",
		.short_name = "r",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.usage = "[-abCqrv] [-P pattern [-s off] [-l len]] off len",
		.summary = "reads a number of bytes at a specified offset",
		.help = VERIFY_HELP " -s   with -P, start to verify at this byte of the range\n"
				    " -l   with -P, verify this many bytes\n"
				    " -b   read the state of the virtual machine, not the disk\n"
				    " -p   ignored\n" REPORT_HELP REGISTER_HELP,
		.co_run = io_co_cmd_read,
	},
	{
		.name = "readv",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.usage = "[-Cqrv] [-P pattern] off len [len..]",
		.summary = "reads a number of bytes at a specified offset",
		.help = " Reads into one buffer per length.\n" VERIFY_HELP REPORT_HELP
			REGISTER_HELP,
		.co_run = io_co_cmd_readv,
	},
	{
		.name = "remove_break",
		.min_args = 1,
		.max_args = 1,
		.needs_image = true,
		.usage = "tag",
		.summary = "remove a breakpoint by tag",
		.co_run = io_co_cmd_remove_break,
	},
	{
		.name = "reopen",
		.max_args = -1,
		.needs_image = true,
		.usage = "[(-r|-w)] [-c cache] [-o options]",
		.summary = "reopens an image with new options",
		.help = " -r   read-only\n"
			" -w   read-write\n"
			" -c   cache mode, as of open -t\n"
			" -o   options of its nodes; of those, only what can change at run time\n",
		.co_run = io_co_cmd_reopen,
	},
	{
		.name = "resume",
		.min_args = 1,
		.max_args = 1,
		.needs_image = true,
		.usage = "tag",
		.summary = "resumes the request tagged as tag",
		.co_run = io_co_cmd_resume,
	},
	{
		.name = "sigraise",
		.min_args = 1,
		.max_args = 1,
		.usage = "signal",
		.summary = "raises a signal",
		.help = " Sends the signal of this number to the program.\n",
		.co_run = co_cmd_sigraise,
	},
	{
		.name = "sleep",
		.min_args = 1,
		.max_args = 1,
		.summary = "waits for the given value in milliseconds",
		.co_run = co_cmd_sleep,
	},
	{
		.name = "truncate",
		.short_name = "t",
		.min_args = 1,
		.max_args = 3,
		.needs_image = true,
		.changes = true,
		.usage = "[-m prealloc_mode] off",
		.summary = "truncates the current file at the given offset",
		.help = " -m   preallocate the added space: off (default), metadata, falloc or full\n",
		.co_run = io_co_cmd_truncate,
	},
	{
		.name = "wait_break",
		.min_args = 1,
		.max_args = 1,
		.needs_image = true,
		.usage = "tag",
		.summary = "waits for the suspension of a request",
		.co_run = io_co_cmd_wait_break,
	},
	{
		.name = "write",
		.short_name = "w",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.changes = true,
		.usage = "[-bcCfnqruz] [-P pattern | -s source_file] off len",
		.summary = "writes a number of bytes at a specified offset",
		.help = " -P   write this byte, in place of 0xcd\n"
			" -s   write the contents of this file, repeated\n"
			" -z   write zeroes, efficiently where the image can\n"
			" -n   with -z, fail where it cannot\n"
			" -u   with -z, allow unmapping\n"
			" -f   force unit access: the write is durable when it completes\n"
			" -c   write compressed: whole clusters, or the end of the image\n"
			" -b   write the state of the virtual machine, not the disk\n"
			" -p   ignored\n" REPORT_HELP REGISTER_HELP,
		.co_run = io_co_cmd_write,
	},
	{
		.name = "writev",
		.min_args = 2,
		.max_args = -1,
		.needs_image = true,
		.changes = true,
		.usage = "[-Cfqr] [-P pattern] off len [len..]",
		.summary = "writes a number of bytes at a specified offset",
		.help = " Writes from one buffer per length.\n"
			" -P   write this byte, in place of 0xcd\n"
			" -f   force unit access: the write is durable when it completes\n" REPORT_HELP
				REGISTER_HELP,
		.co_run = io_co_cmd_writev,
	},
	{
		.name = "zone_append",
		.min_args = 3,
		.max_args = 4,
		.needs_image = true,
		.usage = "offset len [len..]",
		.summary = "append write a number of bytes at a specified offset",
		.co_run = io_co_cmd_zone_append,
	},
	{
		.name = "zone_close",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset len",
		.summary = "close a range of zones in zone block device",
		.co_run = io_co_cmd_zone,
	},
	{
		.name = "zone_finish",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset len",
		.summary = "finish a range of zones in zone block device",
		.co_run = io_co_cmd_zone,
	},
	{
		.name = "zone_open",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset len",
		.summary = "explicit open a range of zones in zone block device",
		.co_run = io_co_cmd_zone,
	},
	{
		.name = "zone_report",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset number",
		.summary = "report zone information",
		.co_run = io_co_cmd_zone,
	},
	{
		.name = "zone_reset",
		.min_args = 2,
		.max_args = 2,
		.needs_image = true,
		.usage = "offset len",
		.summary = "reset a zone write pointer in zone block device",
		.co_run = io_co_cmd_zone,
	},
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
		return io_complain("bad argument count %d to %s, expected at least %d arguments",
				   count, command->name, command->min_args);
	if (command->min_args == command->max_args)
		return io_complain("bad argument count %d to %s, expected %d arguments", count,
				   command->name, command->min_args);
	return io_complain("bad argument count %d to %s, expected between %d and %d arguments",
			   count, command->name, command->min_args, command->max_args);
}

static int check_image(const struct io_session *session, const struct io_command *command)
{
	if (command->needs_image && !session->img)
		return io_complain("no file open, try 'help open'");
	if (!command->changes || !image_is_read_only(session->img))
		return 0;
	tool_error("Block node is read-only");
	return -EROFS;
}

/* The words between blanks, without empty ones. */
static char **split_words(const char *line)
{
	g_autoptr(GStrvBuilder) words = g_strv_builder_new();
	g_auto(GStrv) parts = g_strsplit(line, " ", -1);

	for (char **part = parts; *part; part++)
		if (**part)
			g_strv_builder_add(words, *part);
	return g_strv_builder_end(words);
}

int io_co_run_line(struct io_session *session, const char *line)
{
	g_auto(GStrv) words = split_words(line);
	const struct io_command *command;
	int ret;

	if (!words[0])
		return 0;
	command = find_command(words[0]);
	if (!command)
		return io_complain("command \"%s\" not found", words[0]);
	ret = check_count(command, g_strv_length(words) - 1) ?: check_image(session, command);
	return ret ?: command->co_run(session, command, words);
}

/* ---- commands that need no image ---- */

static int co_cmd_abort(struct io_session *session, const struct io_command *command, char **argv)
{
	abort();
}

static int co_cmd_help(struct io_session *session, const struct io_command *command, char **argv)
{
	const struct io_command *asked = argv[1] ? find_command(argv[1]) : NULL;

	if (argv[1] && !asked)
		return io_refuse("command %s not found", argv[1]);
	if (asked) {
		io_usage(asked);
		if (asked->help)
			printf("\n%s\n", asked->help);
		return 0;
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		io_usage(&commands[i]);
	printf("\nUse 'help commandname' for extended help.\n");
	return 0;
}

static int co_cmd_quit(struct io_session *session, const struct io_command *command, char **argv)
{
	session->quit = true;
	return 0;
}

static int co_cmd_sigraise(struct io_session *session, const struct io_command *command,
			   char **argv)
{
	uint64_t number;

	if (io_parse_size(argv[1], &number))
		return -EINVAL;
	if (number > (uint64_t)SIGRTMAX)
		return io_refuse("signal argument '%s' is too large to be a valid signal", argv[1]);
	/* Show the output so far, whatever the signal does. */
	fflush(stdout);
	raise(number);
	return 0;
}

static int co_cmd_sleep(struct io_session *session, const struct io_command *command, char **argv)
{
	uint64_t ms;

	if (number_parse(argv[1], 0, MAX_SLEEP_MS, &ms))
		return io_refuse("%s is not a valid number", argv[1]);
	fflush(stdout);
	co_sleep_ns(ms * 1000000);
	return 0;
}
