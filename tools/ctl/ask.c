// SPDX-License-Identifier: GPL-2.0-or-later
/* Asks a server something, at the socket of its --socket option. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "passed_fds.h"

/* What many disks with as many queues as they may have tell is shorter. */
#define MAX_ANSWER     (64 << 20)
#define PIECE	       (64 << 10)

#define NOT_RESPONDING "the server does not respond"

/* Reads up to a newline or the end. False with @err set. */
static bool receive_line(int fd, GString *line, GError **err)
{
	gsize len = 0;
	ssize_t got;

	do {
		g_string_set_size(line, len + PIECE);
		got = recv(fd, line->str + len, PIECE, 0);
		len += MAX(got, 0);
	} while ((got > 0 && len <= MAX_ANSWER && line->str[len - 1] != '\n') ||
		 (got < 0 && errno == EINTR));
	g_string_set_size(line, len);
	if (got > 0)
		return true;
	if (got < 0 && errno != EAGAIN)
		error_set(err, -errno, NOT_RESPONDING);
	else
		error_refuse(err, got < 0 ? -ETIMEDOUT : -EIO, NOT_RESPONDING);
	return false;
}

static json_t *parse_answer(const char *line, size_t len, GError **err)
{
	json_auto_t *answer = json_loadb(line, len, 0, NULL);
	g_autofree char *printable = NULL;
	const char *error;

	if (!json_is_object(answer)) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "the program that answers there is not ubd-serve");
		return NULL;
	}
	error = json_string_value(json_object_get(answer, "error"));
	if (!error)
		return g_steal_pointer(&answer);
	printable = ctl_printable(error);
	g_set_error_literal(err, UBD_ERROR, EINVAL, printable);
	return NULL;
}

char *ctl_command(const char *name, const char *device, json_t *more)
{
	json_auto_t *request = json_object(), *members = more;
	g_autofree char *valid = device ? g_utf8_make_valid(device, -1) : NULL;
	char *text, *line;

	json_object_set_new(request, "command", json_string(name));
	if (valid)
		json_object_set_new(request, "device", json_string(valid));
	json_object_update(request, members);
	text = json_dumps(request, 0);
	line = g_strconcat(text, "\n", NULL);
	free(text);
	return line;
}

json_t *ctl_ask(const char *path, const char *line, unsigned seconds, GError **err)
{
	const struct ctl_owner anybody = { CTL_NOT_GIVEN, CTL_NOT_GIVEN };

	return ctl_ask_owner(path, line, &anybody, seconds, err);
}

static void tell_of(FILE *in, bool (*fn)(void *arg, const json_t *event), void *arg)
{
	g_autofree char *line = g_malloc(PIECE);

	while (fgets(line, PIECE, in)) {
		json_auto_t *event = json_loads(line, 0, NULL);

		if (json_is_object(event) && !fn(arg, event))
			return;
	}
}

int ctl_watch(const char *path, const char *line, bool (*fn)(void *arg, const json_t *event),
	      void *arg, GError **err)
{
	const struct ctl_owner anybody = { CTL_NOT_GIVEN, CTL_NOT_GIVEN };
	g_autofree char *first = g_malloc0(PIECE);
	int fd = ctl_socket_connect(path, &anybody, CTL_ANSWER_SECONDS, err);
	json_auto_t *answer = NULL;
	FILE *in;

	if (fd < 0)
		return -1;
	in = fdopen(fd, "r");
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0 || !fgets(first, PIECE, in))
		error_refuse(err, -EIO, "%s: " NOT_RESPONDING, path);
	else
		answer = parse_answer(first, strlen(first), err);
	/* Events come when they come. */
	if (answer && ctl_socket_limit(fd, 0) == 0)
		tell_of(in, fn, arg);
	fclose(in);
	return answer ? 0 : -1;
}

/* With @passed, unless that is -1. False with @err set. */
static bool send_line(int fd, const char *line, int passed, GError **err)
{
	union passed_fds room;
	struct iovec iov = { (char *)line, strlen(line) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (passed >= 0)
		passed_fds_put(&msg, &room, &passed, 1);
	return sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0 || error_set(err, -errno, "cannot send") == 0;
}

static json_t *ask(const char *path, const char *line, int passed, const struct ctl_owner *owner,
		   unsigned seconds, GError **err)
{
	GString *text = g_string_new(NULL);
	g_autoptr(GError) reason = NULL;
	json_t *answer = NULL;
	int fd = ctl_socket_connect(path, owner, seconds, err);

	if (fd >= 0 && send_line(fd, line, passed, &reason) && receive_line(fd, text, &reason))
		answer = parse_answer(text->str, text->len, &reason);
	if (fd >= 0)
		close(fd);
	g_string_free(text, TRUE);
	if (reason)
		g_propagate_prefixed_error(err, g_steal_pointer(&reason), "%s: ", path);
	return answer;
}

json_t *ctl_ask_owner(const char *path, const char *line, const struct ctl_owner *owner,
		      unsigned seconds, GError **err)
{
	return ask(path, line, -1, owner, seconds, err);
}

json_t *ctl_ask_with_fd(const char *path, const char *line, int fd, GError **err)
{
	const struct ctl_owner anybody = { CTL_NOT_GIVEN, CTL_NOT_GIVEN };

	return ask(path, line, fd, &anybody, 0, err);
}
