// SPDX-License-Identifier: GPL-2.0-or-later
/* The commands to a running server; see commands.h. */
#include "commands.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "error.h"
#include "report.h"
#include "status.h"
#include "throttle.h"

/* An argument that a command takes, which may be missing. */
struct argument {
	const char *name;
	bool (*is_valid)(const json_t *value); /* NULL: the command looks */
	const char *expected;
};

struct command {
	const char *name;
	const struct argument *arguments; /* ends with a NULL name; NULL: none */
	enum commands_then then; /* what there is to do for the caller, and nothing else if any */
	/* In place of co_run, for what is not about one disk. */
	int (*co_run_all)(const struct command_process *process, const json_t *request, int *fd,
			  json_t *answer, GError **err);
	bool removes;
	bool may_wait;
	bool lists; /* with several disks, the answer is about all unless one is named */
	/* Its arguments are checked. May add members to @answer even if it fails; NULL: nothing to
	 * do. */
	int (*co_run)(const struct command_target *on, const json_t *request, json_t *answer,
		      GError **err);
};

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
static int resize(const struct command_target *on, struct job *job, uint64_t size, json_t *answer,
		  GError **err)
{
	int res = check_new_size(on, size, err);

	res = res ?: resize_image(on, size, err);
	res = res ?: job_next_step(job, err);
	if (res < 0)
		return res;
	res = resize_target(on, err);
	answer_set_number(answer, "size", on->target->ops->size(on->target));
	report_verbose("%s: %" PRIu64 " bytes", target_name(on->target),
		       on->target->ops->size(on->target));
	return res;
}

static int co_resize(const struct command_target *on, const json_t *request, json_t *answer,
		     GError **err)
{
	uint64_t size = json_integer_value(json_object_get(request, "size"));
	struct job job;
	int res = job_co_begin(on->jobs, &job, "resize", 2, err);

	if (res < 0)
		return res;
	res = resize(on, &job, size, answer, err);
	job_end(on->jobs, &job);
	return res;
}

/* ---- fail-held ---- */

static int fail_held(const struct command_target *on, const json_t *request, json_t *answer,
		     GError **err)
{
	if (!on->target->ops->fail_held)
		return error_refuse(err, -EOPNOTSUPP, "%s is not a device",
				    target_name(on->target));
	on->target->ops->fail_held(on->target);
	return 0;
}

/* ---- add ---- */

/* As for main(), so the first one is a name; NULL with @err set. The caller frees the array. */
static char **parse_words(const json_t *options, GError **err)
{
	g_autoptr(GPtrArray) words = g_ptr_array_new();
	const json_t *word;
	size_t i;

	g_ptr_array_add(words, (char *)"ubd-serve");
	json_array_foreach(options, i, word)
	{
		if (!json_is_string(word))
			break;
		g_ptr_array_add(words, (char *)json_string_value(word));
	}
	if ((options && !json_is_array(options)) || i < json_array_size(options)) {
		error_refuse(err, -EINVAL, "\"options\" must be a list of words");
		return NULL;
	}
	g_ptr_array_add(words, NULL);
	return (char **)g_ptr_array_steal(words, NULL);
}

static int co_add(const struct command_process *process, const json_t *request, int *fd,
		  json_t *answer, GError **err)
{
	const char *image = json_string_value(json_object_get(request, "image"));
	g_autofree char **words = parse_words(json_object_get(request, "options"), err);

	if (!words)
		return -EINVAL;
	if (!image || !*image)
		return error_refuse(err, -EINVAL, "\"image\" must be the name of an image");
	if (!process->co_add)
		return error_refuse(err, -EPERM,
				    "the server was started without --allow-add, so disks cannot "
				    "be added");
	return process->co_add(process->arg, image, words, fd, answer, err);
}

/* ---- what can be asked of all disks: it neither waits nor fails ---- */

static int answer_all(const struct command_process *process, const struct command *command,
		      const json_t *request, json_t *answer)
{
	json_t *disks = json_array();

	for (unsigned i = 0; i < process->targets->len; i++) {
		json_t *disk = json_object();

		command->co_run(process->targets->pdata[i], request, disk, NULL);
		json_array_append_new(disks, disk);
	}
	answer_set_number(answer, "pid", getpid());
	json_object_set_new(answer, "disks", disks);
	return 0;
}

/* ---- all of them ---- */

static bool is_text(const json_t *value)
{
	return json_is_string(value);
}

static bool is_positive(const json_t *value)
{
	return json_integer_value(value) > 0;
}

static const struct argument common_arguments[] = {
	{ "command", is_text, "a string" },
	{ "device", is_text, "the name of a device or an export" },
	{},
};
static const struct argument resize_arguments[] = {
	{ "size", is_positive, "a number of bytes" },
	{},
};
static const struct argument throttle_arguments[] = { { .name = "limits" }, {} };
static const struct argument add_arguments[] = {
	{ "image", is_text, "the name of an image" },
	{ .name = "options" },
	{},
};

static const struct command all_commands[] = {
	{ .name = "status", .co_run = status_answer, .lists = true },
	{ .name = "stats", .co_run = stats_answer, .lists = true },
	{ .name = "resize", .arguments = resize_arguments, .co_run = co_resize, .may_wait = true },
	{ .name = "fail-held", .co_run = fail_held },
	{ .name = "throttle", .arguments = throttle_arguments, .co_run = throttle_answer },
	{ .name = "remove", .removes = true, .may_wait = true },
	{ .name = "add", .arguments = add_arguments, .co_run_all = co_add, .may_wait = true },
	{ .name = "events", .then = COMMANDS_EVENTS },
	{ .name = "quit", .then = COMMANDS_QUIT },
};

void commands_refuse(json_t *answer, const char *message)
{
	answer_set_text(answer, "error", message);
}

/* NULL with @err set if there is none of this name. */
static const struct command *find_command(const json_t *request, GError **err)
{
	const char *name = json_string_value(json_object_get(request, "command"));

	for (size_t i = 0; name && i < G_N_ELEMENTS(all_commands); i++)
		if (strcmp(name, all_commands[i].name) == 0)
			return &all_commands[i];
	error_refuse(err, -EINVAL,
		     "\"command\" must be status, stats, resize, fail-held, throttle, add, remove, "
		     "events or quit");
	return NULL;
}

bool commands_may_wait(const json_t *request)
{
	const struct command *command = find_command(request, NULL);

	return command && command->may_wait;
}

static const struct argument *find_argument(const struct argument *arguments, const char *name)
{
	while (arguments && arguments->name && strcmp(arguments->name, name) != 0)
		arguments++;
	return arguments && arguments->name ? arguments : NULL;
}

/* All must be understood: what is meant for one disk must not be done to another one. */
static int check_arguments(const struct command *command, const json_t *request, GError **err)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)request, name, value)
	{
		const struct argument *argument =
			find_argument(common_arguments, name)
				?: find_argument(command->arguments, name);

		if (!argument)
			return error_refuse(err, -EINVAL, "\"%s\" is not an argument of \"%s\"",
					    name, command->name);
		if (argument->is_valid && !argument->is_valid(value))
			return error_refuse(err, -EINVAL, "\"%s\" must be %s", name,
					    argument->expected);
	}
	return 0;
}

/* NULL with @err set if there is none, or it is not clear which one is meant. */
static struct command_target *find_target(const struct command_process *process,
					  const json_t *request, GError **err)
{
	const char *name = json_string_value(json_object_get(request, "device"));
	const GPtrArray *targets = process->targets;

	if (!name && targets->len == 1)
		return targets->pdata[0];
	for (unsigned i = 0; name && i < targets->len; i++) {
		struct command_target *on = targets->pdata[i];

		if (strcmp(target_name(on->target), name) == 0)
			return on;
	}
	if (name)
		error_refuse(err, -ENODEV, "the server does not serve %s", name);
	else if (targets->len)
		error_refuse(err, -EINVAL, "the server has %u disks; name one of them",
			     targets->len);
	else
		error_refuse(err, -ENODEV, "the server has no disk");
	return NULL;
}

static int co_run_on(const struct command *command, struct command_target *on,
		     const json_t *request, json_t *answer, GError **err)
{
	int res;

	on->users++;
	res = command->co_run(on, request, answer, err);
	if (!--on->users && on->waiter)
		co_wake(g_steal_pointer(&on->waiter));
	return res;
}

static int co_run(const struct command_process *process, const struct command *command,
		  const json_t *request, int *fd, json_t *answer, GError **err)
{
	bool is_whole = command->lists && process->several && !json_object_get(request, "device");
	struct command_target *on;

	if (command->then)
		return 0;
	if (command->co_run_all)
		return command->co_run_all(process, request, fd, answer, err);
	if (is_whole)
		return answer_all(process, command, request, answer);
	on = find_target(process, request, err);
	if (!on)
		return -ENODEV;
	if (!command->removes)
		return co_run_on(command, on, request, answer, err);
	process->co_remove(process->arg, on);
	return 0;
}

void commands_co_let_go(struct command_target *on)
{
	jobs_cancel(on->jobs);
	while (on->users) {
		on->waiter = co_self();
		co_yield();
	}
}

enum commands_then commands_co_run(const struct command_process *process, const json_t *request,
				   int *fd, json_t *answer)
{
	g_autoptr(GError) err = NULL;
	const struct command *command = find_command(request, &err);
	int res = command ? check_arguments(command, request, &err) : -EINVAL;

	if (!res)
		res = co_run(process, command, request, fd, answer, &err);
	if (res < 0)
		commands_refuse(answer, err->message);
	return res ? COMMANDS_NOTHING : command->then;
}
