// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl list: everybody may see which devices there are; the drivers tell the owners and the
 * administrator what they are, and the servers of this user tell of which images. Exports have only
 * a server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl.h"
#include "describe.h"
#include "json_text.h"
#include "values.h"

struct listed {
	char path[32];
	struct transport_info seen; /* by everybody: id, owner_uid, unprivileged */
	bool known;		    /* the rest */
	struct description description;
};

static struct listed look_at(const struct transport_ops *driver, const struct transport_info *seen)
{
	struct listed device = { .seen = *seen };
	struct transport_info info;
	struct transport *transport = driver->open(seen->id, &info, NULL);

	g_snprintf(device.path, sizeof(device.path), "/dev/%s%u", driver->disk_name, seen->id);
	device.known = transport && describe(transport, &device.description) == 0;
	transport_free(transport);
	return device;
}

/* A driver that is not loaded has none. */
static void add_devices(const struct transport_ops *driver, GArray *list)
{
	g_autoptr(GArray) seen = driver->list(NULL);

	for (unsigned i = 0; seen && i < seen->len; i++) {
		struct listed device =
			look_at(driver, &g_array_index(seen, struct transport_info, i));

		g_array_append_val(list, device);
	}
}

static GArray *list_devices(void)
{
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct listed));

	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		add_devices(transports[i], list);
	return list;
}

/* The process; a container does not see processes outside its PID namespace. */
static char *pid_text(int pid)
{
	return pid > 0 ? g_strdup_printf("%d", pid) : g_strdup(pid == 0 ? "outside" : "-");
}

/* NULL: it is not known. */
static const struct server *server_of(const struct listed *device, const GPtrArray *servers)
{
	const struct transport_info *info = &device->description.info;

	return device->known ? servers_by_name(servers, device->path, info->server_pid) : NULL;
}

static void print_row(const struct listed *device, const GPtrArray *servers, int width)
{
	const struct transport_info *info = &device->description.info;
	const struct server *server = server_of(device, servers);
	g_autofree char *size = NULL, *pid = NULL, *image = NULL;

	if (!device->known) {
		printf("%-*s %-11s %10s %7s %6s %8u %8s  %-20s  %s\n", width, device->path, "-",
		       "-", "-", "-", device->seen.owner_uid, "-", "-", "-");
		return;
	}
	size = size_to_text(describe_size(&device->description));
	pid = pid_text(info->server_pid);
	image = server ? server_image(server) : NULL;
	printf("%-*s %-11s %10s %7u %6u %8u %8s  %-20s  %s\n", width, device->path,
	       describe_state(&device->description), size, info->queues, info->depth,
	       info->owner_uid, pid, describe_serial(&device->description) ?: "-", image ?: "-");
}

static void print_export(const struct server *server, int width)
{
	g_autofree char *name = ctl_printable(server_name(server)), *image = server_image(server);
	g_autofree char *size = size_to_text(server_size(server));

	printf("%-*s %-11s %10s %7s %6s %8u %8d  %-20s  %s\n", width, name, "export", size, "-",
	       "-", geteuid(), server_pid(server), "-", image);
}

/* Of the first column: the names of exports are long. */
static int name_width(const GArray *list, const GPtrArray *servers)
{
	size_t width = 14;

	for (unsigned i = 0; i < list->len; i++)
		width = MAX(width, strlen(g_array_index(list, struct listed, i).path));
	for (unsigned i = 0; i < servers->len; i++) {
		g_autofree char *name = ctl_printable(server_name(servers->pdata[i]));

		if (server_is_export(servers->pdata[i]))
			width = MAX(width, strlen(name));
	}
	return width;
}

static bool has_export(const GPtrArray *servers)
{
	for (unsigned i = 0; i < servers->len; i++)
		if (server_is_export(servers->pdata[i]))
			return true;
	return false;
}

/* Without anything to list, not even the heading. */
static void print_table(const GArray *list, const GPtrArray *servers)
{
	int width = name_width(list, servers);

	if (!list->len && !has_export(servers))
		return;
	printf("%-*s %-11s %10s %7s %6s %8s %8s  %-20s  %s\n", width, "DEVICE", "STATE", "SIZE",
	       "QUEUES", "DEPTH", "OWNER", "SERVER", "SERIAL", "IMAGE");
	for (unsigned i = 0; i < list->len; i++)
		print_row(&g_array_index(list, struct listed, i), servers, width);
	for (unsigned i = 0; i < servers->len; i++)
		if (server_is_export(servers->pdata[i]))
			print_export(servers->pdata[i], width);
}

static json_t *unknown_to_json(const struct listed *device)
{
	json_t *object = json_object();

	json_add_string(object, "device", device->path);
	json_add_int(object, "id", device->seen.id);
	json_add_int(object, "owner-uid", device->seen.owner_uid);
	json_add_bool(object, "unprivileged", device->seen.unprivileged);
	return object;
}

static json_t *export_to_json(const struct server *server)
{
	json_t *object = json_object();

	json_add_string(object, "export", server_name(server));
	server_add_image(server, object);
	json_add_int(object, "size", server_size(server));
	json_add_int(object, "server-pid", server_pid(server));
	return object;
}

static void print_json(const GArray *list, const GPtrArray *servers)
{
	json_auto_t *root = json_array();

	for (unsigned i = 0; i < list->len; i++) {
		const struct listed *device = &g_array_index(list, struct listed, i);

		json_append(root, device->known ? describe_json(&device->description,
								server_of(device, servers))
						: unknown_to_json(device));
	}
	for (unsigned i = 0; i < servers->len; i++)
		if (server_is_export(servers->pdata[i]))
			json_append(root, export_to_json(servers->pdata[i]));
	json_print(root);
}

int ctl_list(const struct command *command, char **argv)
{
	g_autofree char *output = NULL;
	g_auto(GStrv) rest = NULL;
	const GOptionEntry entries[] = {
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &rest, NULL, NULL },
		{},
	};
	g_autoptr(GArray) list = NULL;
	g_autoptr(GPtrArray) servers = NULL;
	bool json;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	if (rest)
		return command_usage_error(command, "unexpected argument \"%s\"", rest[0]);
	list = list_devices();
	servers = servers_find();
	if (json)
		print_json(list, servers);
	else
		print_table(list, servers);
	return EXIT_SUCCESS;
}
