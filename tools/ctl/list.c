// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl list: everybody may see which devices there are; the drivers tell the owners and the
 * administrator what they are.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"
#include "describe.h"
#include "json_text.h"
#include "tool.h"
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

/* False with @err set: the driver is not loaded. */
static bool add_devices(const struct transport_ops *driver, GArray *list, GError **err)
{
	g_autoptr(GArray) seen = driver->list(err);

	for (unsigned i = 0; seen && i < seen->len; i++) {
		struct listed device =
			look_at(driver, &g_array_index(seen, struct transport_info, i));

		g_array_append_val(list, device);
	}
	return seen;
}

/* NULL with @err set if no driver is loaded. */
static GArray *list_devices(GError **err)
{
	GArray *list = g_array_new(FALSE, FALSE, sizeof(struct listed));
	bool loaded = false;

	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		loaded |= add_devices(transports[i], list, i ? NULL : err);
	if (!loaded) {
		g_array_unref(list);
		return NULL;
	}
	g_clear_error(err);
	return list;
}

/* The process; a container does not see processes outside its PID namespace. */
static char *server_text(int pid)
{
	return pid > 0 ? g_strdup_printf("%d", pid) : g_strdup(pid == 0 ? "outside" : "-");
}

static void print_row(const struct listed *device)
{
	const struct transport_info *info = &device->description.info;
	g_autofree char *size = NULL, *server = NULL;

	if (!device->known) {
		printf("%-14s %-11s %10s %7s %6s %8u %8s  %s\n", device->path, "-", "-", "-", "-",
		       device->seen.owner_uid, "-", "-");
		return;
	}
	size = size_to_text(describe_size(&device->description));
	server = server_text(info->server_pid);
	printf("%-14s %-11s %10s %7u %6u %8u %8s  %s\n", device->path,
	       describe_state(&device->description), size, info->queues, info->depth,
	       info->owner_uid, server, describe_serial(&device->description) ?: "-");
}

static void print_table(const GArray *list)
{
	printf("%-14s %-11s %10s %7s %6s %8s %8s  %s\n", "DEVICE", "STATE", "SIZE", "QUEUES",
	       "DEPTH", "OWNER", "SERVER", "SERIAL");
	for (unsigned i = 0; i < list->len; i++)
		print_row(&g_array_index(list, struct listed, i));
}

static void add_unknown(const struct listed *device, JsonBuilder *builder)
{
	json_builder_begin_object(builder);
	json_add_string(builder, "device", device->path);
	json_add_int(builder, "id", device->seen.id);
	json_add_int(builder, "owner-uid", device->seen.owner_uid);
	json_add_bool(builder, "unprivileged", device->seen.unprivileged);
	json_builder_end_object(builder);
}

static void print_json(const GArray *list)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonNode) root = NULL;

	json_builder_begin_array(builder);
	for (unsigned i = 0; i < list->len; i++) {
		const struct listed *device = &g_array_index(list, struct listed, i);

		if (device->known)
			describe_json(&device->description, builder);
		else
			add_unknown(device, builder);
	}
	json_builder_end_array(builder);
	root = json_builder_get_root(builder);
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
	g_autoptr(GError) err = NULL;
	bool json;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	if (rest)
		return command_usage_error(command, "unexpected argument \"%s\"", rest[0]);
	list = list_devices(&err);
	if (!list) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	if (json)
		print_json(list);
	else
		print_table(list);
	return EXIT_SUCCESS;
}
