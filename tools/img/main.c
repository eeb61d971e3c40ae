// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img: makes disk images, looks into them, copies and measures them, with
 * qemu-img's command line, output and exit status. Here is what the commands share.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "std_fds.h"

static const struct command commands[] = {
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
	       "  %s COMMAND [OPTION...] [FILENAME...]\n"
	       "\n"
	       "Works on disk images.\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help        Show this help, or after a command its own\n"
	       "  -V, --version     Print the version and exit\n"
	       "\n"
	       "Commands:\n",
	       tool_name());
	command_print_all(commands, G_N_ELEMENTS(commands));
	printf("\nSupported formats:");
	for (const char *const *format = image_formats(); *format; format++)
		printf(" %s", *format);
	putchar('\n');
}

/* ---- what the commands share ---- */

const char *img_only_filename(const struct command *command, char **filenames)
{
	if (filenames && filenames[0] && !filenames[1])
		return filenames[0];
	command_usage_error(command, "Expecting one image file name");
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

int main(int argc, char **argv)
{
	std_fds_open();
	return command_main("ubd-img", commands, G_N_ELEMENTS(commands), print_help, argc, argv);
}
