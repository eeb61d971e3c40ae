// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img: makes disk images, looks into them, copies and measures them, with
 * qemu-img's command line, output and exit status.
 */
#include <stdio.h>

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

/* ---- main ---- */

int main(int argc, char **argv)
{
	std_fds_open();
	return command_main("ubd-img", commands, G_N_ELEMENTS(commands), print_help, argc, argv);
}
