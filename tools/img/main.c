// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img: makes disk images, looks into them, copies and measures them, with
 * qemu-img's command line, output and exit status. Here is what the commands share.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img.h"

static const struct img_command commands[] = {
	{ "amend", "Changes options of an image", img_amend },
	{ "bench", "Measures how fast an image is read or written", img_bench },
	{ "bitmap", "Changes or shows a bitmap of what was written to an image", img_bitmap },
	{ "check", "Looks for errors in the metadata of an image", img_check },
	{ "convert", "Copies an image into a new one, of any format", img_convert },
	{ "create", "Makes an empty image, or one on a backing file", img_create },
	{ "info", "Says what an image is", img_info },
	{ "map", "Says where each part of an image lies", img_map },
	{ "resize", "Gives the disk in an image another size", img_resize },
	{ "snapshot", "Works on the snapshots inside of an image", img_snapshot },
};

static void print_help(void)
{
	printf("Usage:\n"
	       "  ubd-img COMMAND [OPTION...] [FILENAME...]\n"
	       "\n"
	       "Works on disk images.\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help        Show this help, or after a command its own\n"
	       "  -V, --version     Print the version and exit\n"
	       "\n"
	       "Commands:\n");
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		printf("  %-10s        %s\n", commands[i].name, commands[i].summary);
	printf("\nFormats:");
	for (const char *const *format = image_formats(); *format; format++)
		printf(" %s", *format);
	putchar('\n');
}

/* ---- what the commands share ---- */

bool img_parse(const struct img_command *command, const GOptionEntry *entries, char **argv)
{
	g_autofree char *name = g_strdup_printf("%s %s", tool_name(), command->name);
	g_autoptr(GError) err = NULL;
	bool ok;

	/* For "Usage: ubd-img create ..." */
	g_set_prgname(name);
	ok = options_parse(entries, command->summary, argv, &err);
	if (!ok)
		img_usage_error(command, "%s", err->message);
	return ok;
}

int img_usage_error(const struct img_command *command, const char *fmt, ...)
{
	g_autofree char *reason = NULL;
	va_list args;

	va_start(args, fmt);
	reason = g_strdup_vprintf(fmt, args);
	va_end(args);
	tool_error("%s; try '%s %s --help'", reason, tool_name(), command->name);
	return 1;
}

const char *img_only_filename(const struct img_command *command, char **filenames)
{
	if (filenames && filenames[0] && !filenames[1])
		return filenames[0];
	img_usage_error(command, "Expecting one image file name");
	return NULL;
}

bool img_parse_size(const char *what, const char *text, uint64_t max, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;
	int ret = text ? size_parse(text, &bytes) : 0;

	if (!text)
		return true;
	if (ret == -EINVAL) {
		tool_error(
			"Invalid %s specified: '%s' is not a size, such as 512, 1.5k, 64M, 2G, 1T, 1P, 1E",
			what, text);
		return false;
	}
	if (ret || bytes > max) {
		tool_error("Invalid %s specified: '%s' must be between 0 and %" PRIu64, what, text,
			   max);
		return false;
	}
	*ret_bytes = bytes;
	return true;
}

bool img_parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		      uint64_t *ret_number)
{
	if (!text || !number_parse(text, min, max, ret_number))
		return true;
	tool_error("Invalid %s specified: '%s' must be a number between %" PRIu64 " and %" PRIu64,
		   what, text, min, max);
	return false;
}

bool img_parse_output(const char *text, bool *ret_json)
{
	*ret_json = text && strcmp(text, "json") == 0;
	if (!text || *ret_json || strcmp(text, "human") == 0)
		return true;
	tool_error("--output must be used with human or json as argument.");
	return false;
}

/* ---- main ---- */

static int hint(const char *fmt, const char *word)
{
	g_autofree char *reason = g_strdup_printf(fmt, word);

	tool_error("%s; try '%s --help'", reason, tool_name());
	return EXIT_FAILURE;
}

static int run_command(char **argv)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&commands[i], argv);
	return hint("Command not found: %s", argv[0]);
}

/* Standard output may be a full disk or a closed pipe: then what was to be told was not told. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	tool_error("standard output: %s", g_strerror(errno));
	return status ?: EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	tool_init("ubd-img");
	if (argc < 2)
		return hint("Not enough arguments%s", "");
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)
		print_help();
	else if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)
		tool_print_version();
	else if (argv[1][0] == '-')
		return hint("Unknown option %s", argv[1]);
	else
		return finish(run_command(argv + 1));
	return finish(EXIT_SUCCESS);
}
