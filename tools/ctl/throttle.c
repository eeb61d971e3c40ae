// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl throttle: the limits of a disk, and changes of them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "json_text.h"
#include "option_list.h"
#include "subject.h"
#include "tool.h"
#include "values.h"

#define PREFIX "throttling."

/* Which names there are, the server knows. */
static bool add_limit(json_t *limits, char *part)
{
	const char *name = g_str_has_prefix(part, PREFIX) ? part + strlen(PREFIX) : part;
	char *value = strchr(part, '=');
	uint64_t number;

	if (!value) {
		tool_error("\"%s\" is not a limit, such as iops-total=1000 or bps-read=10M", part);
		return false;
	}
	*value++ = '\0';
	if (size_parse(value, &number) < 0) {
		tool_error("%s: \"%s\" is not a number", part, value);
		return false;
	}
	json_add_int(limits, name, number);
	return true;
}

/* NULL after an error message. */
static json_t *parse_limits(const char *list)
{
	json_auto_t *limits = json_object();

	if (strcmp(list, "none") == 0)
		return json_null();
	while (list && *list) {
		g_autofree char *part = option_list_next(&list);

		if (!add_limit(limits, part))
			return NULL;
	}
	return g_steal_pointer(&limits);
}

/* The members of the request; NULL after an error message. */
static json_t *members_of(const char *list)
{
	json_t *members = json_object(), *limits = list ? parse_limits(list) : NULL;

	if (limits)
		json_add(members, "limits", limits);
	if (!list || limits)
		return members;
	json_decref(members);
	return NULL;
}

static void print_limits(const json_t *answer)
{
	json_t *limits = json_object_get(answer, "limits"), *value;
	const char *name;

	json_object_foreach(limits, name, value)
	{
		g_autofree char *printable = ctl_printable(name);

		printf("%s=%" PRId64 "\n", printable, (int64_t)json_integer_value(value));
	}
}

int ctl_throttle(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "DEVICE [LIMIT=VALUE,...]" },
		{},
	};
	g_autofree char *socket = NULL, *request = NULL, *name = NULL;
	json_auto_t *members = NULL;
	g_autoptr(GError) err = NULL;
	json_auto_t *answer = NULL;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || (words[1] && words[2]))
		return command_usage_error(
			command, "expecting a device, an image or the server's socket, and limits");
	members = members_of(words[1]);
	socket = members ? subject_find_socket(words[0], &name) : NULL;
	if (!socket)
		return EXIT_FAILURE;
	request = ctl_command("throttle", name, g_steal_pointer(&members));
	answer = ctl_ask(socket, request, CTL_ANSWER_SECONDS, &err);
	if (!answer) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	print_limits(answer);
	return EXIT_SUCCESS;
}
