// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl status: what a server reports about itself, at the socket of its --socket option. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "tool.h"

static const char *text_of(JsonObject *object, const char *name)
{
	return json_object_get_string_member_with_default(object, name, "");
}

static gint64 number_of(JsonObject *object, const char *name)
{
	return json_object_get_int_member_with_default(object, name, 0);
}

/* NULL: there is no such member, or it has another type. */
static JsonNode *member_of(JsonObject *object, const char *name, JsonNodeType type)
{
	JsonNode *node = json_object_get_member(object, name);

	return node && JSON_NODE_TYPE(node) == type ? node : NULL;
}

static void print_queue(JsonArray *queues, guint index, JsonNode *node, gpointer unused)
{
	JsonObject *queue;

	if (!JSON_NODE_HOLDS_OBJECT(node))
		return;
	queue = json_node_get_object(node);
	printf("queue %u: %" G_GINT64_FORMAT " requests, %" G_GINT64_FORMAT
	       " failed, %" G_GINT64_FORMAT " held; %" G_GINT64_FORMAT
	       " bytes read, %" G_GINT64_FORMAT " written\n",
	       index, number_of(queue, "requests"), number_of(queue, "failed"),
	       number_of(queue, "held"), number_of(queue, "bytes-read"),
	       number_of(queue, "bytes-written"));
}

static void print_failure(JsonObject *failure)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(number_of(failure, "time"));
	g_autofree char *when = time ? g_date_time_format(time, "%F %T") : NULL;

	printf("last failure: %s of %" G_GINT64_FORMAT " bytes at offset %" G_GINT64_FORMAT
	       ": %s (%s)\n",
	       text_of(failure, "operation"), number_of(failure, "bytes"),
	       number_of(failure, "offset"), text_of(failure, "error"), when ?: "?");
}

static void print_troubles(JsonObject *troubles)
{
	static const struct {
		const char *name, *text;
	} all[] = {
		{ "lost", "a flush has failed, so data may be lost" },
		{ "cut", "another program has truncated this file" },
		{ "deleted", "this file was deleted" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		if (*text_of(troubles, all[i].name))
			printf("trouble: %s: %s\n", text_of(troubles, all[i].name), all[i].text);
}

static void print_text(JsonObject *status)
{
	JsonNode *queues = member_of(status, "queues", JSON_NODE_ARRAY);
	JsonNode *failure = member_of(status, "last-failure", JSON_NODE_OBJECT);
	JsonNode *troubles = member_of(status, "troubles", JSON_NODE_OBJECT);

	printf("device: %s\n", text_of(status, "device"));
	printf("image: %s (%s)\n", text_of(status, "image"), text_of(status, "format"));
	printf("server: process %" G_GINT64_FORMAT "\n", number_of(status, "pid"));
	if (queues)
		json_array_foreach_element(json_node_get_array(queues), print_queue, NULL);
	if (failure)
		print_failure(json_node_get_object(failure));
	if (troubles)
		print_troubles(json_node_get_object(troubles));
}

int ctl_status(const struct command *command, char **argv)
{
	g_autofree char *output = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "SOCKET" },
		{},
	};
	g_autoptr(GError) err = NULL;
	g_autoptr(JsonNode) answer = NULL;
	bool json;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command, "expecting the server's socket");
	if (!ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	answer = ctl_ask(words[0], "{\"command\": \"status\"}\n", &err);
	if (!answer) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	if (json)
		json_print(answer);
	else
		print_text(json_node_get_object(answer));
	return EXIT_SUCCESS;
}
