// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl resize: asks a server, at the socket of its option --socket, to let image and device
 * grow. The driver could be told another size by whoever has the control fd, but not the image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "size.h"
#include "tool.h"

#define MAX_ANSWER 4096

/* Up to a newline or the end; false with @err set. */
static bool receive_line(int fd, char *line, size_t size, GError **err)
{
	size_t len = 0;
	ssize_t got;

	do {
		got = recv(fd, line + len, size - 1 - len, 0);
		if (got > 0)
			len += got;
	} while ((got > 0 && !memchr(line, '\n', len)) || (got < 0 && errno == EINTR));
	line[len] = 0;
	if (got > 0)
		return true;
	g_set_error(err, UBD_ERROR, EIO, "the server does not answer%s%s", got < 0 ? ": " : "",
		    got < 0 ? g_strerror(errno) : "");
	return false;
}

/* What the server says the size is; false with @err set. */
static bool parse_answer(const char *line, uint64_t *ret_size, GError **err)
{
	g_autoptr(JsonNode) node = json_from_string(line, NULL);
	JsonObject *answer =
		node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
	const char *error =
		answer ? json_object_get_string_member_with_default(answer, "error", NULL) : NULL;
	gint64 size = answer ? json_object_get_int_member_with_default(answer, "size", 0) : 0;

	*ret_size = size;
	if (error)
		g_set_error_literal(err, UBD_ERROR, EINVAL, error);
	else if (size <= 0)
		g_set_error(err, UBD_ERROR, EINVAL, "what answers there is not ubd-serve");
	return !error && size > 0;
}

/* @bytes 0: to what the image has become. */
static bool resize(const char *path, uint64_t bytes, uint64_t *ret_size, GError **err)
{
	g_autofree char *size = bytes ? g_strdup_printf(", \"size\": %" PRIu64, bytes) : NULL;
	g_autofree char *line = g_strdup_printf("{\"command\": \"resize\"%s}\n", size ?: "");
	const struct ctl_owner anybody = { CTL_NOT_GIVEN, CTL_NOT_GIVEN };
	g_autoptr(GError) reason = NULL;
	char answer[MAX_ANSWER];
	int fd = ctl_socket_connect(path, &anybody, err);

	if (fd < 0)
		return false;
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		g_set_error(&reason, UBD_ERROR, errno, "%s", g_strerror(errno));
	else if (receive_line(fd, answer, sizeof(answer), &reason))
		parse_answer(answer, ret_size, &reason);
	close(fd);
	if (reason)
		g_set_error(err, UBD_ERROR, reason->code, "%s: %s", path, reason->message);
	return !reason;
}

/* 0: none is given. */
static bool parse_size(const char *text, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	if (!text || (size_parse(text, ret_bytes) == 0 && *ret_bytes > 0))
		return true;
	tool_error("\"%s\" is no size, such as 30G", text);
	return false;
}

int ctl_resize(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "SOCKET [SIZE]" },
		{},
	};
	g_autoptr(GError) err = NULL;
	g_autofree char *text = NULL;
	uint64_t bytes, size;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || (words[1] && words[2]))
		return command_usage_error(command, "expecting the server's socket, and a size");
	if (!parse_size(words[1], &bytes))
		return EXIT_FAILURE;
	if (!resize(words[0], bytes, &size, &err)) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	text = size_to_text(size);
	printf("size: %s (%" PRIu64 " bytes)\n", text, size);
	return EXIT_SUCCESS;
}
