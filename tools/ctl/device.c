// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl info, stop, delete and quiesce: commands that take one device. */
#include <errno.h>
#include <stdlib.h>

#include "ctl.h"
#include "describe.h"
#include "disk_users.h"
#include "json_text.h"
#include "servers.h"
#include "subject.h"
#include "tool.h"

/* The name of what was given, NULL if nothing was; false after an error message. */
static bool find_name(char **words, char **ret_name)
{
	*ret_name = words ? subject_find(words[0]) : NULL;
	return !words || *ret_name;
}

static bool is_one(const struct command *command, char **words)
{
	if (!words || !words[1])
		return true;
	command_usage_error(command, "unexpected argument \"%s\"", words[1]);
	return false;
}

/* ---- info ---- */

static void print_json(const struct description *description, const struct server *server)
{
	json_auto_t *root = describe_json(description, server);

	json_print(root);
}

static int info(const char *name, bool json)
{
	g_autoptr(GPtrArray) servers = NULL;
	const struct server *server;
	struct description description;
	struct transport *transport = ctl_open(name, &description.info);
	int res;

	if (!transport)
		return -1;
	res = describe(transport, &description);
	transport_free(transport);
	servers = servers_find();
	server = servers_by_name(servers, description.path, description.info.server_pid);
	if (res < 0)
		tool_error("%s: %s", description.path, g_strerror(-res));
	else if (json)
		print_json(&description, server);
	else
		describe_text(&description, server);
	return res;
}

int ctl_info(const struct command *command, char **argv)
{
	g_autofree char *output = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		CTL_OUTPUT_ENTRY(output),
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "[DEVICE]" },
		{},
	};
	g_autofree char *name = NULL;
	bool json;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json) ||
	    !is_one(command, words) || !find_name(words, &name))
		return EXIT_FAILURE;
	if (name && subject_is_export(name))
		return ctl_print_status(name, json) ? EXIT_SUCCESS : EXIT_FAILURE;
	return info(name, json) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- what ends ---- */

typedef int act_fn(struct transport *transport);

/* Otherwise a server that does not see that its device is stopped lets the driver wait for them. */
static void fail_held(struct transport *transport)
{
	struct transport_info info;

	if (!(transport->ops->notions & TRANSPORT_TELLS_OF_STOP) &&
	    transport->ops->get_info(transport, &info) == 0 && info.server_pid > 0)
		servers_fail_held(info.server_pid, transport->path);
}

static int stop(struct transport *transport)
{
	fail_held(transport);
	return transport->ops->stop(transport);
}

static int delete (struct transport *transport)
{
	fail_held(transport);
	return transport->ops->delete (transport);
}

/* udev opens a disk briefly when it appears, and when somebody has written to it. */
#define PASSING_US (2 * G_USEC_PER_SEC)
#define PAUSE_US   (50 * 1000)

static int stop_if_unused(struct transport *transport)
{
	gint64 end = g_get_monotonic_time() + PASSING_US;
	int res;

	while ((res = transport_stop_if_unused(transport)) == -EBUSY &&
	       g_get_monotonic_time() < end)
		g_usleep(PAUSE_US);
	return res;
}

static int delete_if_unused(struct transport *transport)
{
	int res = stop_if_unused(transport);

	return res < 0 ? res : transport->ops->delete (transport);
}

/* Its server is all that an export has; the server may have others. */
static int end_export(const char *name, bool can_be)
{
	g_autofree char *served = NULL, *line = NULL, *printable = ctl_printable(name);
	g_autofree char *socket = can_be ? subject_find_socket(name, &served) : NULL;
	g_autoptr(GError) err = NULL;
	json_auto_t *answer = NULL;

	if (!can_be)
		tool_error("%s is an export, not a device; it can be stopped", printable);
	if (!socket)
		return EXIT_FAILURE;
	line = ctl_command("remove", served, NULL);
	answer = ctl_ask(socket, line, 0, &err);
	if (!answer)
		tool_error("%s", err->message);
	return answer ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void tell_users(const struct transport *transport)
{
	g_autofree char *users = disk_users(transport->path);

	tool_error("%s is in use (%s); --force stops it anyway", transport->path,
		   users ?: "its users are not visible");
}

static void tell_failure(const struct transport *transport, int res, bool minds_users,
			 const char *what, const char *einval)
{
	if (minds_users && res == -EBUSY)
		tell_users(transport);
	else if (minds_users && res == -EOPNOTSUPP)
		tool_error("%s: cannot find out whether it is in use; --force stops it anyway",
			   transport->path);
	else
		tool_error("%s: %s", transport->path,
			   res == -EINVAL && einval ? einval : ctl_reason(res, transport, what));
}

/* @forced, if given, replaces @fn with --force. @what is what a driver may not have. */
static int act(const struct command *command, char **argv, act_fn *fn, act_fn *forced,
	       const char *what, const char *einval)
{
	g_auto(GStrv) words = NULL;
	gboolean force = FALSE;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "[DEVICE]" },
		{ "force", 0, 0, G_OPTION_ARG_NONE, &force, "Stop the disk even if it is in use",
		  NULL },
		{},
	};
	/* Without the option. */
	const GOptionEntry plain[] = { entries[0], {} };
	g_autofree char *name = NULL;
	struct transport_info info;
	struct transport *transport;
	int res;

	if (!command_parse(command, forced ? entries : plain, argv) || !is_one(command, words) ||
	    !find_name(words, &name))
		return EXIT_FAILURE;
	if (name && subject_is_export(name))
		return end_export(name, fn == stop_if_unused);
	transport = ctl_open(name, &info);
	if (!transport)
		return EXIT_FAILURE;
	res = force ? forced(transport) : fn(transport);
	if (res < 0)
		tell_failure(transport, res, forced && !force, what, einval);
	transport_free(transport);
	return res < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A device ends by itself when its disk is gone, and so does an export that is told to. */
int ctl_stop(const struct command *command, char **argv)
{
	return act(command, argv, stop_if_unused, stop, NULL, NULL);
}

int ctl_delete(const struct command *command, char **argv)
{
	return act(command, argv, delete_if_unused, delete, NULL, NULL);
}

int ctl_quiesce(const struct command *command, char **argv)
{
	return act(command, argv, transport_quiesce, NULL, "a way to ask a server to leave",
		   "its server was started without --recovery, or it is not live yet");
}
