// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl add: another disk for a server that has several. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "json_text.h"
#include "keeper_order.h"
#include "servers.h"
#include "tool.h"
#include "uuid.h"
#include "waiting.h"

/* The only one that there is; NULL after an error message. The caller frees it. */
static char *find_server(void)
{
	g_autoptr(GPtrArray) sockets = servers_find_adding();

	if (sockets->len == 1)
		return g_strdup(sockets->pdata[0]);
	if (sockets->len)
		tool_error("%u servers have several disks; give the socket of one with --socket",
			   sockets->len);
	else
		tool_error("no server to which disks can be added was found; give its socket with "
			   "--socket");
	return NULL;
}

/* The server has another current folder, and takes other names for files. The caller frees it. */
static char *absolute(const char *image)
{
	return g_str_has_prefix(image, "null:") ? g_strdup(image)
						: g_canonicalize_filename(image, NULL);
}

/* False after an error message: what JSON cannot say, the server would take for another name. */
static bool check_utf8(const char *word)
{
	g_autofree char *printable = NULL;

	if (g_utf8_validate(word, -1, NULL))
		return true;
	printable = ctl_printable(word);
	tool_error("\"%s\" is not UTF-8", printable);
	return false;
}

/* NULL after an error message. */
static json_t *disk_of(const char *image, char **options)
{
	g_autofree char *name = absolute(image);
	json_auto_t *words = json_array();

	if (!check_utf8(name))
		return NULL;
	for (; options && *options; options++) {
		if (!check_utf8(*options))
			return NULL;
		json_array_append_new(words, json_string(*options));
	}
	return json_pack("{s:s, s:O}", "image", name, "options", words);
}

/* What follows "--", where @argv is cut off; NULL: nothing does. */
static char **cut_options(char **argv)
{
	for (char **word = argv; *word; word++) {
		if (!g_str_equal(*word, "--"))
			continue;
		*word = NULL;
		return word + 1;
	}
	return NULL;
}

/*
 * The server may not look at devices of others. A second disk would change the image under those
 * that wait for their next server.
 */
static int mind_waiting(const json_t *wanted, const char *image, GError **err)
{
	const char *text = json_get_text(wanted, "uuid");
	uint8_t uuid[16];

	if (!json_get_bool(wanted, "writes") || !text || !uuid_parse(text, uuid))
		return 0;
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++) {
		struct transport_info info;
		struct transport *device;
		int res = waiting_open(transports[i], uuid, image, &device, &info, err);

		if (device)
			res = waiting_refuse(device, image, err);
		transport_free(device);
		if (res < 0)
			return res;
	}
	return 0;
}

/* A server that does not say which can only have ubd's. NULL with @err set. */
static const struct transport_ops *driver_of(const json_t *wanted, GError **err)
{
	const char *name = json_get_text(wanted, "driver");

	if (!*name)
		return &transport_ubd;
	for (unsigned i = 0; i < TRANSPORT_DRIVERS; i++)
		if (g_str_equal(name, transports[i]->name))
			return transports[i];
	error_refuse(err, -EPROTO, "the server wants a device of a driver that is not known here");
	return NULL;
}

/* What the server, which may not do so itself, wants added. */
static struct keeper_order order_of(const json_t *wanted, const struct transport_ops *driver)
{
	const enum data_way way = json_get_int(wanted, "data");
	struct keeper_order order = {
		.driver = driver->driver,
		.ways = { DATA_ZERO_COPY, DATA_USER_COPY, DATA_COPY },
		.info = {
			.id = json_get_int(wanted, "id"),
			.queues = json_get_int(wanted, "queues"),
			.depth = json_get_int(wanted, "depth"),
			.no_partition_scan = json_get_bool(wanted, "no-partition-scan"),
		},
	};
	const char *uuid = json_get_text(wanted, "uuid");

	if (way != DATA_ANY) {
		order.ways[0] = way;
		order.ways[1] = DATA_ANY;
	}
	if (uuid)
		uuid_parse(uuid, order.identity.uuid);
	return order;
}

/*
 * A descriptor for the server: of the device, or an order to its keeper. < 0 with @err set. If the
 * server does not take the device, that ends with *@ret_device, which the caller frees.
 */
static int authorize(const json_t *wanted, struct transport **ret_device, GError **err)
{
	const struct transport_ops *driver = driver_of(wanted, err);
	struct keeper_order order;
	int fd;

	if (!driver)
		return -1;
	order = order_of(wanted, driver);
	if (!driver->adopt)
		return keeper_order_new(&order, err);
	*ret_device = transport_add(driver, order.ways, &order.info, NULL, err);
	if (!*ret_device)
		return -1;
	fd = fcntl(transport_fd(*ret_device), F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? error_set(err, -errno, "%s", (*ret_device)->path) : fd;
}

/* Asks again, with the device that the answer wants, if it wants one. */
static json_t *give_device(const char *socket, const char *line, const char *image, json_t *first,
			   GError **err)
{
	json_auto_t *answer = first;
	const json_t *wanted = json_object_get(answer, "wanted");
	struct transport *device = NULL;
	int fd;

	if (!wanted)
		return g_steal_pointer(&answer);
	if (mind_waiting(wanted, image, err) < 0)
		return NULL;
	first = NULL;
	fd = authorize(wanted, &device, err);
	if (fd >= 0) {
		first = ctl_ask_with_fd(socket, line, fd, err);
		close(fd);
	}
	transport_free(device);
	return first;
}

int ctl_add(const struct command *command, char **argv)
{
	g_autofree char *socket = NULL, *line = NULL, *name = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ "socket", 0, 0, G_OPTION_ARG_FILENAME, &socket,
		  "The server's socket (default: that of the only server with several disks)",
		  "FILE" },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "IMAGE [-- OPTION...]" },
		{},
	};
	char **options = cut_options(argv);
	g_autoptr(GError) err = NULL;
	json_auto_t *answer = NULL;
	json_t *disk;

	if (!command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command, "expecting an image");
	disk = disk_of(words[0], options);
	if (!disk)
		return EXIT_FAILURE;
	if (!socket)
		socket = find_server();
	if (!socket) {
		json_decref(disk);
		return EXIT_FAILURE;
	}
	line = ctl_command("add", NULL, disk);
	answer = ctl_ask(socket, line, 0, &err);
	if (answer)
		answer = give_device(socket, line, words[0], answer, &err);
	if (!answer) {
		tool_error("%s", err->message);
		return EXIT_FAILURE;
	}
	name = ctl_printable(json_get_text(answer, "device"));
	puts(name);
	return EXIT_SUCCESS;
}
