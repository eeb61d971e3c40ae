// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl status: what a server reports about itself, at its socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "servers.h"
#include "subject.h"
#include "tool.h"
#include "values.h"

/* As it can be printed; kept until the program ends. */
static const char *text_of(JsonObject *object, const char *name)
{
	g_autofree char *text = ctl_printable(json_get_text(object, name));

	return g_intern_string(text);
}

/* NULL: there is no such member, or it has another type. */
static JsonNode *member_of(JsonObject *object, const char *name, JsonNodeType type)
{
	JsonNode *node = json_object_get_member(object, name);

	return node && JSON_NODE_TYPE(node) == type ? node : NULL;
}

static void print_requests(JsonObject *queue)
{
	printf("%" G_GINT64_FORMAT " requests, %" G_GINT64_FORMAT " failed, %" G_GINT64_FORMAT
	       " held; %" G_GINT64_FORMAT " bytes read, %" G_GINT64_FORMAT " written",
	       json_get_int(queue, "requests"), json_get_int(queue, "failed"),
	       json_get_int(queue, "held"), json_get_int(queue, "bytes-read"),
	       json_get_int(queue, "bytes-written"));
	if (json_get_int(queue, "zero-copy"))
		printf("; %" G_GINT64_FORMAT " by zero copy, %" G_GINT64_FORMAT " copied",
		       json_get_int(queue, "zero-copy"), json_get_int(queue, "copied"));
	puts("");
}

static void print_queue(JsonArray *queues, guint index, JsonNode *node, gpointer unused)
{
	if (!JSON_NODE_HOLDS_OBJECT(node))
		return;
	printf("queue %u: ", index);
	print_requests(json_node_get_object(node));
}

static void print_departed(JsonObject *departed)
{
	if (!json_get_int(departed, "requests"))
		return;
	printf("clients that have left: ");
	print_requests(departed);
}

static void print_cache(JsonObject *cache)
{
	g_autofree char *size = size_to_text(json_get_int(cache, "bytes"));

	printf("metadata cache: %s, %" G_GINT64_FORMAT " hits, %" G_GINT64_FORMAT " misses\n", size,
	       json_get_int(cache, "hits"), json_get_int(cache, "misses"));
}

static void print_allocation(JsonObject *allocation)
{
	g_autofree char *size = size_to_text(json_get_int(allocation, "file-bytes"));
	g_autofree char *allocated = size_to_text(json_get_int(allocation, "allocated-bytes"));
	g_autofree char *freed = size_to_text(json_get_int(allocation, "freed-bytes"));

	printf("file: %s; since the start %s allocated, %s given back\n", size, allocated, freed);
}

static void print_failure(JsonObject *failure)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(json_get_int(failure, "time"));
	g_autofree char *when = time ? g_date_time_format(time, "%F %T") : NULL;

	printf("last failure: %s of %" G_GINT64_FORMAT " bytes at offset %" G_GINT64_FORMAT
	       ": %s (%s)\n",
	       text_of(failure, "operation"), json_get_int(failure, "bytes"),
	       json_get_int(failure, "offset"), text_of(failure, "error"), when ?: "?");
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
	const struct server server = { .status = status };
	JsonNode *queues = member_of(status, "queues", JSON_NODE_ARRAY);
	JsonNode *departed = member_of(status, "departed", JSON_NODE_OBJECT);
	JsonNode *cache = member_of(status, "cache", JSON_NODE_OBJECT);
	JsonNode *allocation = member_of(status, "allocation", JSON_NODE_OBJECT);
	JsonNode *failure = member_of(status, "last-failure", JSON_NODE_OBJECT);
	JsonNode *troubles = member_of(status, "troubles", JSON_NODE_OBJECT);

	printf("device: %s\n", text_of(status, "device"));
	server_print_image(&server);
	printf("server: process %" G_GINT64_FORMAT "\n", json_get_int(status, "pid"));
	if (queues)
		json_array_foreach_element(json_node_get_array(queues), print_queue, NULL);
	if (departed)
		print_departed(json_node_get_object(departed));
	if (cache)
		print_cache(json_node_get_object(cache));
	if (allocation)
		print_allocation(json_node_get_object(allocation));
	if (failure)
		print_failure(json_node_get_object(failure));
	if (troubles)
		print_troubles(json_node_get_object(troubles));
}

bool ctl_print_status(const char *word, bool json)
{
	g_autofree char *socket = subject_find_socket(word);
	g_autoptr(GError) err = NULL;
	g_autoptr(JsonNode) answer = NULL;

	if (!socket)
		return false;
	answer = ctl_ask(socket, "{\"command\": \"status\"}\n", &err);
	if (!answer)
		tool_error("%s", err->message);
	else if (json)
		json_print(answer);
	else
		print_text(json_node_get_object(answer));
	return answer;
}

int ctl_status(const struct command *command, char **argv)
{
	g_autofree char *output = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "DEVICE" },
		{},
	};
	bool json;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command,
					   "expecting a device, an image or the server's socket");
	if (!ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	return ctl_print_status(words[0], json) ? EXIT_SUCCESS : EXIT_FAILURE;
}
