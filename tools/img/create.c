// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-img create: creates an image, empty or with a backing file. */
#include "img.h"
#include "new_image.h"

static int co_create(void *arg)
{
	if (new_image_co_create(arg))
		return 1;
	new_image_finish(arg);
	return 0;
}

/* Without a size, the image gets that of the backing file. */
static bool take_size(struct new_image *new, const char *text)
{
	if (text && new->size_given) {
		tool_error("%s: The image size must be specified only once", new->filename);
		return false;
	}
	if (!img_parse_size("image size", text, INT64_MAX, &new->size))
		return false;
	new->size_given |= text != NULL;
	if (!new->size_given && (!new->backing_filename || new->backing_unchecked)) {
		tool_error("%s: Image creation needs a size parameter", new->filename);
		return false;
	}
	return true;
}

int img_create(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *backing = NULL, *backing_format = NULL;
	g_auto(GStrv) lists = NULL, words = NULL;
	gboolean quiet = FALSE, unchecked = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: raw)", "FMT" },
		{ "options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &lists,
		  "Options of the format; list them with -o help", "NAME=VALUE,..." },
		{ "backing", 'b', 0, G_OPTION_ARG_FILENAME, &backing,
		  "Backing file, which provides the data that the image does not have", "FILE" },
		{ "backing-format", 'F', 0, G_OPTION_ARG_FILENAME, &backing_format,
		  "Format of the backing file", "FMT" },
		{ "backing-fmt", 'B', 0, G_OPTION_ARG_FILENAME, &backing_format, "The same",
		  "FMT" },
		{ "backing-unsafe", 'u', 0, G_OPTION_ARG_NONE, &unchecked,
		  "Do not check that the backing file can be opened", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet, "Print errors only", NULL },
		TOOL_OBJECT_OPTION,
		TOOL_POLICY_OPTIONS,
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "FILENAME [SIZE]" },
		{},
	};
	struct new_image new;
	int status = 1;

	if (!command_parse(command, entries, argv))
		return 1;
	if (new_image_asks_help(lists))
		return new_image_print_options(format ?: "raw", words ? words[0] : NULL) ? 0 : 1;
	if (!words)
		return command_usage_error(command, "Expecting image file name");
	if (words[1] && words[2])
		return command_usage_error(command, "Unexpected argument: %s", words[2]);
	if (new_image_init(&new, words[0], format ?: "raw", lists)) {
		new_image_set_backing(&new, backing, backing_format);
		new.backing_unchecked = unchecked;
		new.announce = !quiet;
		if (take_size(&new, words[1]))
			status = tool_run_co(co_create, &new);
	}
	new_image_clear(&new);
	return status;
}
