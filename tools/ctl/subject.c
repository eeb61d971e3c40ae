// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a command is about; see subject.h. Images are told apart by device and inode, as the drivers
 * and the servers know them: names differ between folders and mount namespaces.
 */
#include "subject.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "servers.h"
#include "tool.h"

/* ---- files ---- */

struct file_job {
	const char *filename;
	struct file_id id;
};

static int co_identify(void *arg)
{
	struct file_job *job = arg;

	job->id = image_co_file_id(job->filename);
	return 0;
}

static struct file_id identify(const char *filename)
{
	struct file_job job = { .filename = filename };

	tool_run_co(co_identify, &job);
	return job.id;
}

/* ---- those that serve a file ---- */

static void add_name(GPtrArray *names, const char *name)
{
	if (!g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
		g_ptr_array_add(names, g_strdup(name));
}

/* Also devices that wait for their next server. */
static void add_if_has_file(GPtrArray *names, const struct transport_ops *driver, uint32_t id,
			    const struct file_id *file)
{
	struct transport_info info;
	struct transport *transport = driver->open(id, &info, NULL);
	struct identity identity = { 0 };

	if (transport && transport_get_identity(transport, &identity) == 0 && identity.image_ino &&
	    identity.image_dev == file->dev && identity.image_ino == file->ino)
		add_name(names, transport->path);
	transport_free(transport);
}

static void add_devices(GPtrArray *names, const struct file_id *file)
{
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++) {
		g_autoptr(GArray) seen = transports[i]->list(NULL);

		for (guint k = 0; seen && k < seen->len; k++)
			add_if_has_file(names, transports[i],
					g_array_index(seen, struct transport_info, k).id, file);
	}
}

/* The names of all that serve the file, which end with NULL. The caller unrefs the list. */
static GPtrArray *find_by_file(const char *filename, const GPtrArray *servers)
{
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	struct file_id id = identify(filename);

	if (id.known) {
		add_devices(names, &id);
		for (guint i = 0; i < servers->len; i++)
			if (server_has_file(servers->pdata[i], &id))
				add_name(names, server_name(servers->pdata[i]));
	}
	g_ptr_array_add(names, NULL);
	return names;
}

/* ---- words ---- */

/* The path of the device that is named, which the caller frees; NULL: it is none. */
static char *device_path(const char *word)
{
	const struct transport_ops *driver;
	uint32_t id;

	if (!ctl_is_device(word, &driver, &id))
		return NULL;
	return g_strdup_printf("/dev/%s%u", driver->disk_name, id);
}

/* What is not a device; NULL after an error message. */
static char *find_among(const char *word, const GPtrArray *servers)
{
	g_autoptr(GPtrArray) names = NULL;
	g_autofree char *all = NULL, *printable = NULL;

	if (servers_by_name(servers, word, 0))
		return g_strdup(word);
	names = find_by_file(word, servers);
	if (names->len == 2)
		return g_strdup(names->pdata[0]);
	all = g_strjoinv(", ", (char **)names->pdata);
	printable = ctl_printable(all);
	if (names->len > 2)
		tool_error("%s is the image of %s; name one of them", word, printable);
	else
		tool_error("\"%s\" is not a device, nor an image that is being served", word);
	return NULL;
}

char *subject_find(const char *word)
{
	g_autoptr(GPtrArray) servers = NULL;
	char *path = device_path(word);

	if (path)
		return path;
	servers = servers_find();
	return find_among(word, servers);
}

bool subject_is_export(const char *name)
{
	return !g_str_has_prefix(name, "/dev/");
}

/* A name that leads nowhere is that of a socket, too. */
static bool is_socket(const char *word)
{
	const struct transport_ops *driver;
	struct stat st;
	uint32_t id;

	if (stat(word, &st) == 0)
		return S_ISSOCK(st.st_mode);
	return !ctl_is_device(word, &driver, &id) && !strchr(word, ':');
}

char *subject_find_socket(const char *word, char **ret_name)
{
	g_autoptr(GPtrArray) servers = NULL;
	g_autofree char *name = NULL, *printable = NULL;
	const struct server *server;

	*ret_name = NULL;
	if (is_socket(word))
		return g_strdup(word);
	servers = servers_find();
	name = device_path(word) ?: find_among(word, servers);
	if (!name)
		return NULL;
	server = servers_by_name(servers, name, 0);
	if (server) {
		*ret_name = g_steal_pointer(&name);
		return g_strdup(server->socket);
	}
	printable = ctl_printable(name);
	tool_error("%s: no socket of its server was found; give that of --socket", printable);
	return NULL;
}

static bool ask_one(GPtrArray *disks, const char *word, const char *command)
{
	g_autofree char *name = NULL, *socket = subject_find_socket(word, &name), *line = NULL;
	g_autoptr(GError) err = NULL;
	json_auto_t *answer = NULL;

	if (!socket)
		return false;
	line = ctl_command(command, name, NULL);
	answer = ctl_ask(socket, line, CTL_ANSWER_SECONDS, &err);
	if (!answer)
		tool_error("%s", err->message);
	else
		servers_add(disks, socket, command, answer);
	return answer;
}

GPtrArray *subjects_ask(char **words, const char *command)
{
	g_autoptr(GPtrArray) servers = NULL;

	if (!words)
		return servers_ask(command, NULL);
	servers = servers_new();
	for (; *words; words++)
		if (!ask_one(servers, *words, command))
			return NULL;
	return g_steal_pointer(&servers);
}
