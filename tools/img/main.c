// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img: creates, inspects, copies and measures disk images, with qemu-img's command line, output
 * and exit status.
 */
#include <stdio.h>

#include "img.h"
#include "std_fds.h"

static const struct command commands[] = {
	{ "amend", "Change options of an existing image", img_amend },
	{ "bench", "Measure how fast an image can be read or written", img_bench },
	{ "bitmap", "Change or dump a persistent dirty bitmap", img_bitmap },
	{ "check", "Check the metadata of an image, and repair it", img_check },
	{ "commit", "Write an image's changes to an image below it", img_commit },
	{ "compare", "Check whether two images have the same contents", img_compare },
	{ "convert", "Copy an image to a new one, in any format", img_convert },
	{ "create", "Create an image, empty or with a backing file", img_create },
	{ "dd", "Copy a part of an image to a new one, in any format", img_dd },
	{ "info", "Show information about an image", img_info },
	{ "map", "Show where each part of an image is stored", img_map },
	{ "measure", "Show how much space a new image needs", img_measure },
	{ "rebase", "Change the backing file of an image", img_rebase },
	{ "resize", "Resize an image's virtual disk", img_resize },
	{ "snapshot", "List, create, apply or delete internal snapshots", img_snapshot },
};

static void print_help(void)
{
	printf("Usage:\n"
	       "  %s COMMAND [OPTION...] [FILENAME...]\n"
	       "\n"
	       "Create, inspect, convert and measure disk images.\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help        Show this help, or a command's help after its name\n"
	       "  -V, --version     Print the version and exit\n"
	       "  -T, --trace=...   Ignored; accepted for compatibility with qemu-img\n"
	       "\n"
	       "Commands:\n",
	       tool_name());
	command_print_all(commands, G_N_ELEMENTS(commands));
	printf("\nSupported formats:");
	for (const char *const *format = image_formats(); *format; format++)
		printf(" %s", *format);
	putchar('\n');
}

/* ---- main ---- */

int main(int argc, char **argv)
{
	static const GOptionEntry options[] = { TOOL_TRACE_OPTION, {} };

	std_fds_open();
	return command_main("ubd-img", commands, G_N_ELEMENTS(commands), print_help, options, argc,
			    argv);
}
