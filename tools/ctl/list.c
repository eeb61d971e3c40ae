// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl list: sysfs tells everybody which devices there are; control fds tell the owners and the
 * administrator what they are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "describe.h"
#include "json_text.h"
#include "tool.h"
#include "values.h"

#define SYSFS "/sys/class/ubd"

struct listed {
	uint32_t id;
	unsigned owner_uid, unprivileged;
	bool known; /* the rest */
	struct description description;
};

static unsigned read_number(uint32_t id, const char *attribute)
{
	g_autofree char *path = g_strdup_printf(SYSFS "/ubdc%u/%s", id, attribute);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? strtoul(text, NULL, 10) : 0;
}

static struct listed look_at(uint32_t id)
{
	struct listed device = {
		.id = id,
		.owner_uid = read_number(id, "owner_uid"),
		.unprivileged = read_number(id, "unprivileged"),
	};
	struct ubdsrv_ctrl_dev_info info;
	struct control *control = control_open_dev(id, &info, NULL);

	device.known = control && describe(control, &device.description) == 0;
	control_free(control);
	return device;
}

static int compare(const void *a, const void *b)
{
	const struct listed *one = a, *other = b;

	return (one->id > other->id) - (one->id < other->id);
}

static GArray *list_devices(GError **err)
{
	g_autoptr(GDir) dir = g_dir_open(SYSFS, 0, err);
	GArray *list;
	const char *name;

	if (!dir)
		return NULL;
	list = g_array_new(FALSE, FALSE, sizeof(struct listed));
	while ((name = g_dir_read_name(dir))) {
		uint32_t id;

		if (sscanf(name, "ubdc%u", &id) == 1) {
			struct listed device = look_at(id);

			g_array_append_val(list, device);
		}
	}
	g_array_sort(list, compare);
	return list;
}

/* The process; a container does not see processes outside its PID namespace. */
static char *server_text(int pid)
{
	return pid > 0 ? g_strdup_printf("%d", pid) : g_strdup(pid == 0 ? "outside" : "-");
}

static void print_row(const struct listed *device)
{
	const struct ubdsrv_ctrl_dev_info *info = &device->description.info;
	g_autofree char *path = g_strdup_printf("/dev/ubdb%u", device->id);
	g_autofree char *size = NULL, *server = NULL;

	if (!device->known) {
		printf("%-14s %-11s %10s %7s %6s %8u %8s  %s\n", path, "-", "-", "-", "-",
		       device->owner_uid, "-", "-");
		return;
	}
	size = size_to_text(describe_size(&device->description));
	server = server_text(info->ubdsrv_pid);
	printf("%-14s %-11s %10s %7u %6u %8u %8s  %s\n", path, describe_state(&device->description),
	       size, info->nr_hw_queues, info->queue_depth, info->owner_uid, server,
	       describe_serial(&device->description) ?: "-");
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
	g_autofree char *path = g_strdup_printf("/dev/ubdb%u", device->id);

	json_builder_begin_object(builder);
	json_add_string(builder, "device", path);
	json_add_int(builder, "id", device->id);
	json_add_int(builder, "owner-uid", device->owner_uid);
	json_add_bool(builder, "unprivileged", device->unprivileged);
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
	bool json;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json))
		return EXIT_FAILURE;
	if (rest)
		return command_usage_error(command, "unexpected argument \"%s\"", rest[0]);
	list = list_devices(NULL);
	if (!list) {
		tool_error("cannot find " SYSFS "; load the driver: modprobe ubd");
		return EXIT_FAILURE;
	}
	if (json)
		print_json(list);
	else
		print_table(list);
	return EXIT_SUCCESS;
}
