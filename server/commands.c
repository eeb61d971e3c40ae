// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands to a running server. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "report.h"
#include "runfile.h"

#define MAX_LINE       4096
/* For a client's whole line, and for its taking the answer. */
#define CLIENT_SECONDS 2

struct commands {
	struct runfile *socket;
};

/* What a command works on. */
struct target {
	struct aio_loop *loop;
	struct image *image;
	struct device *device;
};

/* ---- the socket ---- */

struct commands *commands_new(const char *path, GError **err)
{
	struct runfile *socket = runfile_new_socket(path, err);
	struct commands *commands;

	if (!socket)
		return NULL;
	commands = g_new(struct commands, 1);
	commands->socket = socket;
	return commands;
}

int commands_fd(const struct commands *commands)
{
	return commands ? runfile_fd(commands->socket) : -1;
}

void commands_free(struct commands *commands)
{
	if (!commands)
		return;
	runfile_remove(commands->socket);
	g_free(commands);
}

/* ---- what they do ---- */

/* A file's name, in messages too, may be any bytes, and JSON has none but UTF-8. */
static void set_text(JsonObject *object, const char *name, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	json_object_set_string_member(object, name, valid);
}

/* Of each trouble the first file that has it. */
static void answer_troubles(const struct target *target, JsonObject *answer)
{
	static const struct {
		const char *name;
		enum image_trouble trouble;
	} all[] = {
		{ "lost", IMAGE_TROUBLE_LOST },
		{ "cut", IMAGE_TROUBLE_CUT },
		{ "deleted", IMAGE_TROUBLE_DELETED },
	};
	JsonObject *troubles = json_object_new();

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		const char *file = image_troubled_file(target->image, all[i].trouble);

		if (file)
			set_text(troubles, all[i].name, file);
	}
	json_object_set_object_member(answer, "troubles", troubles);
}

static void answer_queues(const struct target *target, JsonObject *answer)
{
	JsonArray *queues = json_array_new();

	for (unsigned i = 0; i < device_nr_queues(target->device); i++) {
		struct queue_stats stats = device_queue_stats(target->device, i);
		JsonObject *queue = json_object_new();

		json_object_set_int_member(queue, "requests", stats.requests);
		json_object_set_int_member(queue, "failed", stats.failed);
		json_object_set_int_member(queue, "held", stats.held);
		json_object_set_int_member(queue, "bytes-read", stats.read_bytes);
		json_object_set_int_member(queue, "bytes-written", stats.written_bytes);
		json_array_add_object_element(queues, queue);
	}
	json_object_set_array_member(answer, "queues", queues);
}

static void answer_last_failure(const struct target *target, JsonObject *answer)
{
	gint64 time;
	struct failure last = device_last_failure(target->device, &time);
	JsonObject *failure;

	if (!last.count)
		return;
	failure = json_object_new();
	set_text(failure, "operation", failure_operation(&last));
	json_object_set_int_member(failure, "offset", last.guest_off);
	json_object_set_int_member(failure, "bytes", last.bytes);
	set_text(failure, "error", g_strerror(last.error));
	json_object_set_int_member(failure, "time", time);
	json_object_set_object_member(answer, "last-failure", failure);
}

static void answer_status(const struct target *target, JsonObject *answer)
{
	set_text(answer, "device", device_path(target->device));
	set_text(answer, "image", image_filename(target->image));
	set_text(answer, "format", image_format(target->image));
	json_object_set_int_member(answer, "size", device_size(target->device));
	json_object_set_boolean_member(answer, "read-only", image_is_read_only(target->image));
	json_object_set_int_member(answer, "pid", getpid());
	answer_troubles(target, answer);
	answer_queues(target, answer);
	answer_last_failure(target, answer);
}

struct resize_job {
	struct image *image;
	uint64_t size; /* 0: what the file has become */
	GError *err;
	int res;
};

static void resize_co(void *arg)
{
	struct resize_job *job = arg;

	if (job->size) {
		job->res = image_co_resize(job->image, job->size, IMAGE_PREALLOC_OFF, &job->err);
		return;
	}
	job->res = image_co_refresh_size(job->image);
	if (job->res == -ENOTSUP)
		job->res = 0;
	if (job->res < 0)
		g_set_error_literal(&job->err, UBD_ERROR, -job->res, g_strerror(-job->res));
}

/* *ret_size: 0 without one. */
static bool get_size(const struct target *target, JsonObject *command, uint64_t *ret_size,
		     GError **err)
{
	JsonNode *node = json_object_get_member(command, "size");
	uint64_t now = device_size(target->device);

	*ret_size = 0;
	if (!node)
		return true;
	if (json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) <= 0) {
		g_set_error(err, UBD_ERROR, EINVAL, "\"size\" must be a number of bytes");
		return false;
	}
	*ret_size = json_node_get_int(node);
	/* Nobody knows what its users have behind the new end. */
	if (*ret_size < MAX(now, image_size(target->image))) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "%s has %" PRIu64 " bytes; a device in use cannot be shrunk",
			    device_path(target->device), now);
		return false;
	}
	return true;
}

static void answer_resize(const struct target *target, JsonObject *command, JsonObject *answer)
{
	struct resize_job job = { .image = target->image };
	g_autoptr(GError) err = NULL;
	int res;

	if (!get_size(target, command, &job.size, &err)) {
		set_text(answer, "error", err->message);
		return;
	}
	aio_loop_run_co(target->loop, resize_co, &job);
	if (job.res < 0) {
		set_text(answer, "error", job.err->message);
		g_error_free(job.err);
		return;
	}
	res = device_grow(target->device);
	if (res < 0)
		set_text(answer, "error", g_strerror(-res));
	json_object_set_int_member(answer, "size", device_size(target->device));
	report_verbose("%s: %" PRIu64 " bytes", device_path(target->device),
		       device_size(target->device));
}

/* False: the server is to end. */
static bool answer_command(const struct target *target, JsonObject *command, JsonObject *answer)
{
	JsonNode *node = json_object_get_member(command, "command");
	const char *name = "";

	if (node && json_node_get_value_type(node) == G_TYPE_STRING)
		name = json_node_get_string(node);
	if (strcmp(name, "status") == 0)
		answer_status(target, answer);
	else if (strcmp(name, "resize") == 0)
		answer_resize(target, command, answer);
	else if (strcmp(name, "quit") == 0)
		return false;
	else
		set_text(answer, "error", "\"command\" must be status, resize or quit");
	return true;
}

/* ---- clients ---- */

static gint64 deadline_from_now(void)
{
	return g_get_monotonic_time() + CLIENT_SECONDS * G_USEC_PER_SEC;
}

/* Whether @events come before the deadline, however often some have come before. */
static bool wait_for(int fd, short events, gint64 deadline)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	gint64 left_us = deadline - g_get_monotonic_time();

	return left_us > 0 && poll(&poll_fd, 1, left_us / 1000 + 1) > 0;
}

/* A line without its newline; false: none came in time. */
static bool read_line(int fd, char *line, size_t size)
{
	gint64 deadline = deadline_from_now();
	size_t len = 0;

	while (len < size - 1 && wait_for(fd, POLLIN, deadline)) {
		ssize_t got = recv(fd, line + len, size - 1 - len, MSG_DONTWAIT);
		char *end;

		if (got <= 0)
			return false;
		line[len + got] = 0;
		end = strchr(line + len, '\n');
		len += got;
		if (end) {
			*end = 0;
			return true;
		}
	}
	return false;
}

/* False: the client does not take all of it. */
static bool send_line(int fd, const char *line)
{
	gint64 deadline = deadline_from_now();
	size_t left = strlen(line);

	while (left && wait_for(fd, POLLOUT, deadline)) {
		ssize_t sent = send(fd, line, left, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			return false;
		line += sent;
		left -= sent;
	}
	return !left;
}

static void send_answer(int fd, JsonObject *answer)
{
	g_autoptr(JsonNode) node = json_node_alloc();
	g_autofree char *text = NULL, *line = NULL;

	json_node_init_object(node, answer);
	text = json_to_string(node, FALSE);
	line = g_strconcat(text, "\n", NULL);
	/* A client that does not listen does not want to know. */
	if (!send_line(fd, line))
		report_verbose("a client disconnected before its answer");
}

static bool serve_client(int fd, const struct target *target)
{
	g_autoptr(JsonObject) answer = json_object_new();
	g_autoptr(GError) err = NULL;
	g_autoptr(JsonNode) node = NULL;
	char line[MAX_LINE];
	bool goes_on = true;

	if (!read_line(fd, line, sizeof(line)))
		return true;
	node = json_from_string(line, &err);
	if (node && JSON_NODE_HOLDS_OBJECT(node))
		goes_on = answer_command(target, json_node_get_object(node), answer);
	else
		set_text(answer, "error", "expected a line with a JSON object");
	send_answer(fd, answer);
	return goes_on;
}

bool commands_serve(struct commands *commands, struct aio_loop *loop, struct image *image,
		    struct device *device)
{
	const struct target target = { loop, image, device };
	int fd = accept4(commands_fd(commands), NULL, NULL, SOCK_CLOEXEC);
	bool goes_on;

	if (fd < 0)
		return true;
	goes_on = serve_client(fd, &target);
	close(fd);
	return goes_on;
}
