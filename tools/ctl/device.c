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
	struct control *control;
	bool json;
	int res;

	if (!command_parse(command, entries, argv) || !ctl_parse_output(output, &json) ||
	    !is_one(command, words))
		return EXIT_FAILURE;
	control = ctl_open(only_device(words), &description.info);
	if (!control)
		return EXIT_FAILURE;
	res = describe(control, &description);
	control_free(control);
	if (res < 0)
		tool_error("/dev/ubdb%u: %s", description.info.dev_id, g_strerror(-res));
	else if (json)
		print_json(&description);
	else
		describe_text(&description);
	return res < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- what ends ---- */

typedef int act_fn(struct control *control);

static int try_delete(struct control *control)
{
	int res = control_try_stop_dev(control);

	return res < 0 ? res : control_del_dev(control);
}

/* @gentle, if given, replaces @fn with --if-unused. */
static int act(const struct command *command, char **argv, act_fn *fn, act_fn *gentle,
	       const char *einval)
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
	struct ubdsrv_ctrl_dev_info info;
	struct control *control;
	int res;

	if (!command_parse(command, gentle ? entries : plain, argv) || !is_one(command, words))
		return EXIT_FAILURE;
	control = ctl_open(only_device(words), &info);
	if (!control)
		return EXIT_FAILURE;
	res = if_unused ? gentle(control) : fn(control);
	control_free(control);
	if (res < 0)
		tool_error("/dev/ubdb%u: %s", info.dev_id,
			   res == -EINVAL && einval  ? einval
			   : res == -EBUSY && gentle ? "the disk is in use"
						     : g_strerror(-res));
	return res < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int ctl_stop(const struct command *command, char **argv)
{
	return act(command, argv, control_stop_dev, control_try_stop_dev, NULL);
}

int ctl_delete(const struct command *command, char **argv)
{
	return act(command, argv, control_del_dev, try_delete, NULL);
}

int ctl_quiesce(const struct command *command, char **argv)
{
	return act(command, argv, control_quiesce, NULL,
		   "its server was started without --recovery, or it is not live yet");
}
