// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl status: what a server reports about itself, at its socket. */
#include <errno.h>
#include <inttypes.h>
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
static const char *text_of(const json_t *object, const char *name)
{
	g_autofree char *text = ctl_printable(json_get_text(object, name));

	return g_intern_string(text);
}

/* NULL: there is no such member, or it is not an object. */
static json_t *object_of(const json_t *object, const char *name)
{
	json_t *member = json_object_get(object, name);

	return json_is_object(member) ? member : NULL;
}

static void print_requests(const json_t *queue)
{
	printf("%" PRId64 " requests, %" PRId64 " failed, %" PRId64 " held; %" PRId64
	       " bytes read, %" PRId64 " written",
	       json_get_int(queue, "requests"), json_get_int(queue, "failed"),
	       json_get_int(queue, "held"), json_get_int(queue, "bytes-read"),
	       json_get_int(queue, "bytes-written"));
	if (json_get_int(queue, "zero-copy"))
		printf("; %" PRId64 " by zero copy, %" PRId64 " copied",
		       json_get_int(queue, "zero-copy"), json_get_int(queue, "copied"));
	puts("");
}

static void print_queues(const json_t *queues)
{
	size_t i;
	json_t *queue;

	json_array_foreach(queues, i, queue)
	{
		if (!json_is_object(queue))
			continue;
		printf("queue %zu: ", i);
		print_requests(queue);
	}
}

static void print_departed(const json_t *departed)
{
	if (!json_get_int(departed, "requests"))
		return;
	printf("clients that have left: ");
	print_requests(departed);
}

static void print_cache(const json_t *cache)
{
	g_autofree char *size = size_to_text(json_get_int(cache, "bytes"));

	printf("metadata cache: %s, %" PRId64 " hits, %" PRId64 " misses\n", size,
	       json_get_int(cache, "hits"), json_get_int(cache, "misses"));
}

static void print_allocation(const json_t *allocation)
{
	g_autofree char *size = size_to_text(json_get_int(allocation, "file-bytes"));
	g_autofree char *allocated = size_to_text(json_get_int(allocation, "allocated-bytes"));
	g_autofree char *freed = size_to_text(json_get_int(allocation, "freed-bytes"));

	printf("file: %s; since the start %s allocated, %s freed\n", size, allocated, freed);
}

static void print_failure(const json_t *failure)
{
	g_autoptr(GDateTime) time = g_date_time_new_from_unix_local(json_get_int(failure, "time"));
	g_autofree char *when = time ? g_date_time_format(time, "%F %T") : NULL;

	printf("last failure: %s of %" PRId64 " bytes at offset %" PRId64 ": %s (%s)\n",
	       text_of(failure, "operation"), json_get_int(failure, "bytes"),
	       json_get_int(failure, "offset"), text_of(failure, "error"), when ?: "?");
}

static void print_troubles(const json_t *troubles)
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

static void print_text(json_t *status)
{
	const struct server server = { .status = status };
	const json_t *departed = object_of(status, "departed");
	const json_t *cache = object_of(status, "cache");
	const json_t *allocation = object_of(status, "allocation");
	const json_t *failure = object_of(status, "last-failure");
	const json_t *troubles = object_of(status, "troubles");

	printf("device: %s\n", text_of(status, "device"));
	server_print_image(&server);
	printf("server: process %" PRId64 "\n", json_get_int(status, "pid"));
	print_queues(json_object_get(status, "queues"));
	if (departed)
		print_departed(departed);
	if (cache)
		print_cache(cache);
	if (allocation)
		print_allocation(allocation);
	if (failure)
		print_failure(failure);
	if (troubles)
		print_troubles(troubles);
}

/* Of one disk, or of each one that the server has. */
static void print_all(json_t *answer)
{
	json_t *disks = json_object_get(answer, "disks"), *disk;
	size_t i;

	if (!json_is_array(disks))
		print_text(answer);
	json_array_foreach(disks, i, disk)
	{
		if (i)
			puts("");
		print_text(disk);
	}
}

bool ctl_print_status(const char *word, bool json)
{
	g_autofree char *name = NULL, *socket = subject_find_socket(word, &name), *line = NULL;
	g_autoptr(GError) err = NULL;
	json_auto_t *answer = NULL;

	if (!socket)
		return false;
	line = ctl_command("status", name, NULL);
	answer = ctl_ask(socket, line, CTL_ANSWER_SECONDS, &err);
	if (!answer)
		tool_error("%s", err->message);
	else if (json)
		json_print(answer);
	else
		print_all(answer);
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
