// SPDX-License-Identifier: GPL-2.0-or-later
/* The commands to a running server; see commands.h. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "report.h"

/* An argument that a command takes: a positive number of bytes, which may be missing. */
struct argument {
	const char *name;
};

struct command {
	const char *name;
	const struct argument *arguments; /* ends with a NULL name; NULL: none */
	bool quits;			  /* the server ends once this is answered */
	/* Its arguments are checked. May add members to @answer even if it fails; NULL: nothing to
	 * do. */
	int (*co_run)(const struct command_target *on, JsonObject *request, JsonObject *answer,
		      GError **err);
};

/* ---- status ---- */

/* File names, in messages too, may be any bytes, but JSON is UTF-8. */
static void set_text(JsonObject *object, const char *name, const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	json_object_set_string_member(object, name, valid);
}

/* For each kind of trouble the first file that has it. */
static void answer_troubles(const struct command_target *on, JsonObject *answer)
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
		const char *file = image_troubled_file(disk_image(on->disk), all[i].trouble);

		if (file)
			set_text(troubles, all[i].name, file);
	}
	json_object_set_object_member(answer, "troubles", troubles);
}

static void answer_queues(const struct command_target *on, JsonObject *answer)
{
	JsonArray *queues = json_array_new();

	for (unsigned i = 0; i < on->target->ops->nr_queues(on->target); i++) {
		struct serve_stats stats = on->target->ops->queue_stats(on->target, i);
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

static void answer_last_failure(const struct command_target *on, JsonObject *answer)
{
	gint64 time;
	struct failure last = on->target->ops->last_failure(on->target, &time);
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

/* Only while there are any: clients rarely see one. */
static void answer_jobs(const struct command_target *on, JsonObject *answer)
{
	JsonArray *jobs;

	if (!on->jobs->first)
		return;
	jobs = json_array_new();
	for (const struct job *job = on->jobs->first; job; job = job->next) {
		JsonObject *object = json_object_new();

		json_object_set_string_member(object, "name", job->name);
		json_object_set_string_member(object, "state", job_state_name(job));
		json_object_set_int_member(object, "done", job->done);
		json_object_set_int_member(object, "total", job->total);
		json_array_add_object_element(jobs, object);
	}
	json_object_set_array_member(answer, "jobs", jobs);
}

static int co_status(const struct command_target *on, JsonObject *request, JsonObject *answer,
		     GError **err)
{
	set_text(answer, "device", target_name(on->target));
	set_text(answer, "image", image_filename(disk_image(on->disk)));
	set_text(answer, "format", image_format(disk_image(on->disk)));
	json_object_set_int_member(answer, "size", on->target->ops->size(on->target));
	json_object_set_boolean_member(answer, "read-only",
				       image_is_read_only(disk_image(on->disk)));
	json_object_set_int_member(answer, "pid", getpid());
	answer_troubles(on, answer);
	answer_queues(on, answer);
	answer_last_failure(on, answer);
	answer_jobs(on, answer);
	return 0;
}

/* ---- resize ---- */

/* Nobody knows what the device's users have behind a new, nearer end. */
static int check_new_size(const struct command_target *on, uint64_t size, GError **err)
{
	uint64_t now = on->target->ops->size(on->target);

	if (!size || size >= MAX(now, image_size(disk_image(on->disk))))
		return 0;
	return error_refuse(err, -EINVAL,
			    "%s has %" PRIu64 " bytes; a device in use cannot be shrunk",
			    target_name(on->target), now);
}

static int refresh_size(struct image *image, GError **err)
{
	int res = image_co_refresh_size(image);

	return res < 0 && res != -ENOTSUP ? error_refuse(err, res, "%s", g_strerror(-res)) : 0;
}

/* @size 0: to what the file has become. */
static int resize_image(const struct command_target *on, uint64_t size, GError **err)
{
	struct image *image = disk_co_begin(on->disk);
	int res = size ? image_co_resize(image, size, IMAGE_PREALLOC_OFF, err)
		       : refresh_size(image, err);

	disk_co_end(on->disk);
	return res;
}

static int resize_target(const struct command_target *on, GError **err)
{
	int res = on->target->ops->co_grow(on->target);

	return res < 0 ? error_refuse(err, res, "%s", g_strerror(-res)) : 0;
}

/* Two steps: the image, and the device. Between them, a server that dies leaves a larger image. */
static int resize(const struct command_target *on, struct job *job, uint64_t size,
		  JsonObject *answer, GError **err)
{
	int res = check_new_size(on, size, err);

	res = res ?: resize_image(on, size, err);
	res = res ?: job_next_step(job, err);
	if (res < 0)
		return res;
	res = resize_target(on, err);
	json_object_set_int_member(answer, "size", on->target->ops->size(on->target));
	report_verbose("%s: %" PRIu64 " bytes", target_name(on->target),
		       on->target->ops->size(on->target));
	return res;
}

static int co_resize(const struct command_target *on, JsonObject *request, JsonObject *answer,
		     GError **err)
{
	uint64_t size = json_object_get_int_member_with_default(request, "size", 0);
	struct job job;
	int res = job_co_begin(on->jobs, &job, "resize", 2, err);

	if (res < 0)
		return res;
	res = resize(on, &job, size, answer, err);
	job_end(on->jobs, &job);
	return res;
}

/* ---- all of them ---- */

static const struct argument resize_arguments[] = { { "size" }, {} };

static const struct command all_commands[] = {
	{ .name = "status", .co_run = co_status },
	{ .name = "resize", .arguments = resize_arguments, .co_run = co_resize },
	{ .name = "quit", .quits = true },
};

void commands_refuse(JsonObject *answer, const char *message)
{
	set_text(answer, "error", message);
}

/* NULL with @err set if there is none of this name. */
static const struct command *find_command(JsonObject *request, GError **err)
{
	JsonNode *node = json_object_get_member(request, "command");

	for (size_t i = 0; node && i < G_N_ELEMENTS(all_commands); i++)
		if (json_node_get_value_type(node) == G_TYPE_STRING &&
		    strcmp(json_node_get_string(node), all_commands[i].name) == 0)
			return &all_commands[i];
	error_refuse(err, -EINVAL, "\"command\" must be status, resize or quit");
	return NULL;
}

static int check_arguments(const struct command *command, JsonObject *request, GError **err)
{
	for (const struct argument *argument = command->arguments; argument && argument->name;
	     argument++) {
		JsonNode *node = json_object_get_member(request, argument->name);

		if (node && (json_node_get_value_type(node) != G_TYPE_INT64 ||
			     json_node_get_int(node) <= 0))
			return error_refuse(err, -EINVAL, "\"%s\" must be a number of bytes",
					    argument->name);
	}
	return 0;
}

bool commands_co_run(const struct command_target *on, JsonObject *request, JsonObject *answer)
{
	g_autoptr(GError) err = NULL;
	const struct command *command = find_command(request, &err);
	int res = command ? check_arguments(command, request, &err) : -EINVAL;

	if (!res && command->co_run)
		res = command->co_run(on, request, answer, &err);
	if (res < 0)
		commands_refuse(answer, err->message);
	return !res && command->quits;
}
