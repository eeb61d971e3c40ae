// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl events: what happens to a server's disks, as it happens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "json_text.h"
#include "subject.h"
#include "tool.h"

struct watching {
	const char *device; /* NULL: all of the server's */
	bool as_json;
};

static void print_text(const json_t *event, const char *name)
{
	g_autofree char *text = ctl_printable(json_get_text(event, name));

	fputs(text, stdout);
}

/* False: nobody can see it; what has failed is for tool_finish() to tell. */
static bool print_event(void *arg, const json_t *event)
{
	const struct watching *watching = arg;

	if (watching->device && strcmp(json_get_text(event, "device"), watching->device) != 0)
		return true;
	if (watching->as_json) {
		json_dumpf(event, stdout, JSON_COMPACT);
	} else {
		print_text(event, "device");
		fputs(" ", stdout);
		print_text(event, "event");
		fputs(": ", stdout);
		print_text(event, "message");
	}
	puts("");
	return fflush(stdout) == 0 && !ferror(stdout);
}

int ctl_events(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	g_autofree char *output = NULL;
	const GOptionEntry entries[] = {
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "DEVICE" },
		{},
	};
	g_autofree char *socket = NULL, *request = NULL, *name = NULL;
	g_autoptr(GError) err = NULL;
	struct watching watching = { 0 };

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &watching.as_json))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command,
					   "expecting a device, an image or the server's socket");
	socket = subject_find_socket(words[0], &name);
	if (!socket)
		return EXIT_FAILURE;
	watching.device = name;
	request = ctl_command("events", NULL, NULL);
	if (ctl_watch(socket, request, print_event, &watching, &err) == 0)
		return EXIT_SUCCESS;
	tool_error("%s", err->message);
	return EXIT_FAILURE;
}
