// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl resize: asks a server, at its socket, to make image and device
 * grow. A holder of the control fd could tell the driver another size, but that would not resize
 * the image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "subject.h"
#include "tool.h"
#include "values.h"

/* The size that the server reports; 0 with @err set on failure. */
static uint64_t parse_size_in(const json_t *answer, GError **err)
{
	int64_t size = json_get_int(answer, "size");

	if (size > 0)
		return size;
	g_set_error(err, UBD_ERROR, EINVAL, "the program that answers there is not ubd-serve");
	return 0;
}

/* @bytes 0: to the size that the image has now. */
static bool resize(const char *path, const char *name, uint64_t bytes, uint64_t *ret_size,
		   GError **err)
{
	json_t *size = bytes ? json_pack("{s:I}", "size", (json_int_t)bytes) : NULL;
	g_autofree char *line = ctl_command("resize", name, size);
	json_auto_t *answer = ctl_ask(path, line, 0, err);

	if (!answer)
		return false;
	*ret_size = parse_size_in(answer, err);
	if (!*ret_size)
		g_prefix_error(err, "%s: ", path);
	return *ret_size;
}

/* 0: none was given. */
static bool parse_size(const char *text, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	if (!text || (size_parse(text, ret_bytes) == 0 && *ret_bytes > 0))
		return true;
	tool_error("\"%s\" is not a size, such as 30G", text);
	return false;
}

int ctl_resize(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "DEVICE [SIZE]" },
		{},
	};
	g_autoptr(GError) err = NULL;
	g_autofree char *text = NULL, *socket = NULL, *name = NULL;
	uint64_t bytes, size;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || (words[1] && words[2]))
		return command_usage_error(
			command, "expecting a device, an image or the server's socket, and a size");
	if (!parse_size(words[1], &bytes))
		return EXIT_FAILURE;
	socket = subject_find_socket(words[0], &name);
	if (!socket)
		return EXIT_FAILURE;
	if (!resize(socket, name, bytes, &size, &err)) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	text = size_to_text(size);
	printf("size: %s (%" PRIu64 " bytes)\n", text, size);
	return EXIT_SUCCESS;
}
