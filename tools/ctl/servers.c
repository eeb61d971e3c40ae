// SPDX-License-Identifier: GPL-2.0-or-later
/* The servers that can be asked; see servers.h. */
#include "servers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "run_folder.h"
#include "tool.h"

static void free_server(gpointer data)
{
	struct server *server = data;

	json_decref(server->status);
	g_free(server->socket);
	g_free(server);
}

static struct server *server_new(char *socket, const char *command, json_t *status)
{
	struct server *server = g_new(struct server, 1);

	*server = (struct server){ socket, command, status };
	return server;
}

GPtrArray *servers_new(void)
{
	return g_ptr_array_new_with_free_func(free_server);
}

/* NULL with @err set: it has ended, does not respond, or is not ours. */
static json_t *ask_ours(const char *socket, const char *line, GError **err)
{
	const struct ctl_owner us = { geteuid(), getegid() };

	return ctl_ask_owner(socket, line, &us, CTL_ANSWER_SECONDS, err);
}

/* A process that is asked, and its answer, or why there is none. */
struct question {
	const char *command;
	char *socket;
	int pid;
	json_t *answer;
	GError *err;
};

static void free_question(gpointer data)
{
	struct question *question = data;

	g_clear_error(&question->err);
	json_decref(question->answer);
	g_free(question->socket);
	g_free(question);
}

static void *ask(void *arg)
{
	struct question *question = arg;
	g_autofree char *line = g_strdup_printf("{\"command\": \"%s\"}\n", question->command);

	question->answer = ask_ours(question->socket, line, &question->err);
	return NULL;
}

/* All at once, so that those that hang cost their time only once. */
static void ask_all(GPtrArray *questions)
{
	g_autofree GThread **threads = g_new0(GThread *, questions->len);

	for (guint i = 0; i < questions->len; i++)
		threads[i] = g_thread_try_new("ubdctl-ask", ask, questions->pdata[i], NULL);
	for (guint i = 0; i < questions->len; i++)
		if (threads[i])
			g_thread_join(threads[i]);
		else
			ask(questions->pdata[i]);
}

/* One that has ended may have left its socket behind; one that hangs is there. */
static bool is_hanging(const struct question *question)
{
	return g_error_matches(question->err, UBD_ERROR, ETIMEDOUT);
}

/* Once of each, however often this command asks. */
static void warn_of(const struct question *question)
{
	static GHashTable *warned;
	g_autofree char *line = g_strconcat(question->err->message, "; it is omitted", NULL);

	if (!warned)
		warned = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	if (g_hash_table_add(warned, g_strdup(question->socket)))
		tool_warn(line);
}

static void tell_of(const struct question *question, GArray *ret_asked)
{
	const struct asked_server asked = { question->pid, question->answer };

	if (ret_asked && (question->answer || is_hanging(question)))
		g_array_append_val(ret_asked, asked);
	else if (!ret_asked && is_hanging(question))
		warn_of(question);
}

static gint compare(gconstpointer a, gconstpointer b)
{
	const struct server *x = *(const struct server *const *)a,
			    *y = *(const struct server *const *)b;

	return strcmp(server_name(x), server_name(y));
}

/* One for each socket that is there. */
static GPtrArray *find_sockets(const char *command)
{
	GPtrArray *questions = g_ptr_array_new_with_free_func(free_question);
	g_autofree char *folder = run_folder_find(false, NULL);
	g_autoptr(GDir) dir = folder ? g_dir_open(folder, 0, NULL) : NULL;
	const char *name;
	int pid;

	while (dir && (name = g_dir_read_name(dir)))
		if (run_folder_is_socket_name(name, &pid)) {
			struct question *question = g_new0(struct question, 1);

			question->command = command;
			question->socket = g_build_filename(folder, name, NULL);
			question->pid = pid;
			g_ptr_array_add(questions, question);
		}
	return questions;
}

/* Those that have been answered; @ret_asked as in servers_ask(). */
static GPtrArray *find_answers(const char *command, GArray *ret_asked)
{
	GPtrArray *questions = find_sockets(command);

	ask_all(questions);
	for (guint i = questions->len; i-- > 0;) {
		const struct question *question = questions->pdata[i];

		tell_of(question, ret_asked);
		if (!question->answer)
			g_ptr_array_remove_index_fast(questions, i);
	}
	return questions;
}

void servers_add(GPtrArray *disks, const char *socket, const char *command, json_t *answer)
{
	json_t *all = json_object_get(answer, "disks"), *disk;
	size_t i;

	if (!json_is_array(all))
		g_ptr_array_add(disks, server_new(g_strdup(socket), command, json_incref(answer)));
	json_array_foreach(all, i, disk)
	{
		if (json_is_object(disk))
			g_ptr_array_add(disks,
					server_new(g_strdup(socket), command, json_incref(disk)));
	}
}

GPtrArray *servers_ask(const char *command, GArray *ret_asked)
{
	g_autoptr(GPtrArray) answers = find_answers(command, ret_asked);
	GPtrArray *disks = servers_new();

	for (guint i = 0; i < answers->len; i++) {
		const struct question *question = answers->pdata[i];

		servers_add(disks, question->socket, command, question->answer);
	}
	g_ptr_array_sort(disks, compare);
	return disks;
}

GPtrArray *servers_find(void)
{
	return servers_ask("status", NULL);
}

GPtrArray *servers_find_adding(void)
{
	GPtrArray *sockets = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GPtrArray) answers = find_answers("status", NULL);

	for (guint i = 0; i < answers->len; i++) {
		const struct question *question = answers->pdata[i];

		if (json_is_array(json_object_get(question->answer, "disks")))
			g_ptr_array_add(sockets, g_strdup(question->socket));
	}
	return sockets;
}

void servers_fail_held(int pid, const char *device)
{
	g_autofree char *folder = run_folder_find(false, NULL);
	g_autofree char *name = run_folder_socket_name(pid);
	g_autofree char *socket = folder ? g_build_filename(folder, name, NULL) : NULL;
	g_autofree char *line = ctl_command("fail-held", device, NULL);
	json_auto_t *answer = NULL;

	if (socket)
		answer = ask_ours(socket, line, NULL);
}

/* ---- what they say ---- */

static const char *text_of(const struct server *server, const char *name)
{
	return json_get_text(server->status, name);
}

const char *server_name(const struct server *server)
{
	return text_of(server, "device");
}

bool server_is_export(const struct server *server)
{
	return *server_name(server) && !g_str_has_prefix(server_name(server), "/dev/");
}

int server_pid(const struct server *server)
{
	return json_get_int(server->status, "pid");
}

uint64_t server_size(const struct server *server)
{
	return json_get_int(server->status, "size");
}

bool server_has_file(const struct server *server, const struct file_id *id)
{
	const struct file_id own = {
		.known = json_get_int(server->status, "image-ino"),
		.dev = json_get_int(server->status, "image-dev"),
		.ino = json_get_int(server->status, "image-ino"),
	};

	return file_id_equal(&own, id);
}

static const char *image_path(const struct server *server)
{
	const char *path = text_of(server, "image-path");

	return *path ? path : text_of(server, "image");
}

static bool is_temporary(const struct server *server)
{
	return json_get_bool(server->status, "temporary");
}

char *server_image(const struct server *server)
{
	g_autofree char *path = ctl_printable(image_path(server));
	g_autofree char *keep_as = ctl_printable(text_of(server, "keep-as"));

	if (!is_temporary(server))
		return g_steal_pointer(&path);
	return *keep_as ? g_strdup_printf("%s (kept as %s)", path, keep_as)
			: g_strdup_printf("%s (temporary)", path);
}

void server_print_image(const struct server *server)
{
	g_autofree char *path = ctl_printable(image_path(server));
	g_autofree char *format = ctl_printable(text_of(server, "format"));
	g_autofree char *keep_as = ctl_printable(text_of(server, "keep-as"));

	printf("image: %s (%s)\n", path, format);
	if (is_temporary(server))
		printf("written to: a temporary overlay%s%s\n", *keep_as ? ", kept as " : "",
		       keep_as);
}

void server_add_image(const struct server *server, json_t *object)
{
	json_add_string(object, "image", image_path(server));
	json_add_string(object, "image-format", text_of(server, "format"));
	json_add_bool(object, "temporary", is_temporary(server));
	if (*text_of(server, "keep-as"))
		json_add_string(object, "keep-as", text_of(server, "keep-as"));
}

const struct server *servers_by_name(const GPtrArray *servers, const char *name, int pid)
{
	for (guint i = 0; i < servers->len; i++) {
		const struct server *server = servers->pdata[i];

		if (strcmp(server_name(server), name) == 0 &&
		    (pid <= 0 || pid == server_pid(server)))
			return server;
	}
	return NULL;
}
