// SPDX-License-Identifier: GPL-2.0-or-later
/* The servers that can be asked; see servers.h. */
#include "servers.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "json_text.h"
#include "run_folder.h"

/* One that does not answer for so long is left out. */
#define ANSWER_SECONDS 5

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

/* NULL: it has ended, does not answer, or is not ours. */
static json_t *ask_ours(const char *socket, const char *line)
{
	const struct ctl_owner us = { geteuid(), getegid() };

	return ctl_ask_owner(socket, line, &us, ANSWER_SECONDS, NULL);
}

/* Leaves server->status NULL if it has ended or does not answer. */
static void *ask(void *arg)
{
	struct server *server = arg;
	g_autofree char *line = g_strdup_printf("{\"command\": \"%s\"}\n", server->command);

	server->status = ask_ours(server->socket, line);
	return NULL;
}

/* All at once, so that those that hang cost their time only once. */
static void ask_all(GPtrArray *servers)
{
	g_autofree GThread **threads = g_new0(GThread *, servers->len);

	for (guint i = 0; i < servers->len; i++)
		threads[i] = g_thread_try_new("ubdctl-ask", ask, servers->pdata[i], NULL);
	for (guint i = 0; i < servers->len; i++)
		if (threads[i])
			g_thread_join(threads[i]);
		else
			ask(servers->pdata[i]);
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
	GPtrArray *servers = servers_new();
	g_autofree char *folder = run_folder_find(false, NULL);
	g_autoptr(GDir) dir = folder ? g_dir_open(folder, 0, NULL) : NULL;
	const char *name;
	int pid;

	while (dir && (name = g_dir_read_name(dir)))
		if (run_folder_is_socket_name(name, &pid))
			g_ptr_array_add(servers, server_new(g_build_filename(folder, name, NULL),
							    command, NULL));
	return servers;
}

/* Those that have answered. */
static GPtrArray *find_answers(const char *command)
{
	GPtrArray *servers = find_sockets(command);

	ask_all(servers);
	for (guint i = servers->len; i-- > 0;)
		if (!((struct server *)servers->pdata[i])->status)
			g_ptr_array_remove_index_fast(servers, i);
	return servers;
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

GPtrArray *servers_ask(const char *command)
{
	g_autoptr(GPtrArray) answers = find_answers(command);
	GPtrArray *disks = servers_new();

	for (guint i = 0; i < answers->len; i++) {
		const struct server *server = answers->pdata[i];

		servers_add(disks, server->socket, command, server->status);
	}
	g_ptr_array_sort(disks, compare);
	return disks;
}

GPtrArray *servers_find(void)
{
	return servers_ask("status");
}

GPtrArray *servers_find_adding(void)
{
	GPtrArray *sockets = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GPtrArray) answers = find_answers("status");

	for (guint i = 0; i < answers->len; i++) {
		struct server *server = answers->pdata[i];

		if (json_is_array(json_object_get(server->status, "disks")))
			g_ptr_array_add(sockets, g_strdup(server->socket));
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
		answer = ask_ours(socket, line);
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
