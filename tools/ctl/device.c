// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl info, stop, delete and quiesce: commands that take one device. */
#include <errno.h>
#include <stdlib.h>

#include "ctl.h"
#include "describe.h"
#include "json_text.h"
#include "tool.h"

static const char *only_device(char **words)
{
	return words ? words[0] : NULL;
}

static bool is_one(const struct command *command, char **words)
{
	if (!words || !words[1])
		return true;
	command_usage_error(command, "unexpected argument \"%s\"", words[1]);
	return false;
}

/* ---- info ---- */

static void print_json(const struct description *description)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonNode) root = NULL;

	describe_json(description, builder);
	root = json_builder_get_root(builder);
	json_print(root);
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
	struct description description;
	struct transport *transport;
	bool json;
	int res;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json) ||
	    !is_one(command, words))
		return EXIT_FAILURE;
	transport = ctl_open(only_device(words), &description.info);
	if (!transport)
		return EXIT_FAILURE;
	res = describe(transport, &description);
	transport_free(transport);
	if (res < 0)
		tool_error("%s: %s", description.path, g_strerror(-res));
	else if (json)
		print_json(&description);
	else
		describe_text(&description);
	return res < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- what ends ---- */

typedef int act_fn(struct transport *transport);

static int stop(struct transport *transport)
{
	return transport->ops->stop(transport);
}

static int delete (struct transport *transport)
{
	return transport->ops->delete (transport);
}

static int try_delete(struct transport *transport)
{
	int res = transport_stop_if_unused(transport);

	return res < 0 ? res : delete (transport);
}

/* @gentle, if given, replaces @fn with --if-unused. @what is what a driver may not have. */
static int act(const struct command *command, char **argv, act_fn *fn, act_fn *gentle,
	       const char *what, const char *einval)
{
	g_auto(GStrv) words = NULL;
	gboolean if_unused = FALSE;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL, "[DEVICE]" },
		{ "if-unused", 0, 0, G_OPTION_ARG_NONE, &if_unused,
		  "Fail if the disk is open or mounted", NULL },
		{},
	};
	/* Without the option. */
	const GOptionEntry plain[] = { entries[0], {} };
	struct transport_info info;
	struct transport *transport;
	int res;

	if (!command_parse(command, gentle ? entries : plain, argv) || !is_one(command, words))
		return EXIT_FAILURE;
	transport = ctl_open(only_device(words), &info);
	if (!transport)
		return EXIT_FAILURE;
	res = if_unused ? gentle(transport) : fn(transport);
	if (res < 0)
		tool_error("%s: %s", transport->path,
			   res == -EINVAL && einval  ? einval
			   : res == -EBUSY && gentle ? "the disk is in use"
						     : ctl_reason(res, transport, what));
	transport_free(transport);
	return res < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int ctl_stop(const struct command *command, char **argv)
{
	return act(command, argv, stop, transport_stop_if_unused,
		   "a stop that depends on whether the disk is in use", NULL);
}

int ctl_delete(const struct command *command, char **argv)
{
	return act(command, argv, delete, try_delete,
		   "a stop that depends on whether the disk is in use", NULL);
}

int ctl_quiesce(const struct command *command, char **argv)
{
	return act(command, argv, transport_quiesce, NULL, "a way to ask a server to leave",
		   "its server was started without --recovery, or it is not live yet");
}
