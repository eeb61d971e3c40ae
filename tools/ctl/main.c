// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl: looks at devices, ends them, and hands them to others. Here is what the commands share.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "options.h"
#include "tool.h"

static const struct ctl_command commands[] = {
	{ "delete", "Stops a device, deletes it and frees its number", ctl_delete },
	{ "grant", "Hands descriptors of a device to another process", ctl_grant },
	{ "info", "Says what a device is", ctl_info },
	{ "list", "Lists all devices", ctl_list },
	{ "quiesce", "Has the server of a device with recovery leave", ctl_quiesce },
	{ "receive", "Runs a program with the descriptors that were granted", ctl_receive },
	{ "run", "Runs a program with descriptors of a device", ctl_run },
	{ "stop", "Stops a device: its disk goes away", ctl_stop },
};

static void print_help(void)
{
	printf("Usage:\n"
	       "  ubdctl COMMAND [OPTION...] [DEVICE] [ARGUMENT...]\n"
	       "\n"
	       "Controls the block devices of ubd-serve and other servers.\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help        Show this help, or after a command its own\n"
	       "  -V, --version     Print the version and exit\n"
	       "\n"
	       "Commands:\n");
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		printf("  %-10s        %s\n", commands[i].name, commands[i].summary);
}

/* ---- what the commands share ---- */

bool ctl_parse(const struct ctl_command *command, const GOptionEntry *entries, char **argv)
{
	g_autofree char *name = g_strdup_printf("%s %s", tool_name(), command->name);
	g_autoptr(GError) err = NULL;
	bool ok;

	/* For "Usage: ubdctl list ..." */
	g_set_prgname(name);
	ok = options_parse(entries, command->summary, argv, &err);
	if (!ok)
		ctl_usage_error(command, "%s", err->message);
	return ok;
}

int ctl_usage_error(const struct ctl_command *command, const char *fmt, ...)
{
	g_autofree char *reason = NULL;
	va_list args;

	va_start(args, fmt);
	reason = g_strdup_vprintf(fmt, args);
	va_end(args);
	tool_error("%s; try '%s %s --help'", reason, tool_name(), command->name);
	return EXIT_FAILURE;
}

bool ctl_parse_output(const char *text, bool *ret_json)
{
	*ret_json = text && strcmp(text, "json") == 0;
	if (!text || *ret_json || strcmp(text, "human") == 0)
		return true;
	tool_error("--output: \"%s\" is not human or json", text);
	return false;
}

bool ctl_parse_device(const char *text, uint32_t *ret_id)
{
	const char *digits = text;
	guint64 id;

	if (g_str_has_prefix(digits, "/dev/"))
		digits += strlen("/dev/");
	if (g_str_has_prefix(digits, "ubdb"))
		digits += strlen("ubdb");
	if (g_ascii_string_to_unsigned(digits, 10, 0, INT32_MAX, &id, NULL)) {
		*ret_id = id;
		return true;
	}
	tool_error("\"%s\" is no device, such as 0 or /dev/ubdb0", text);
	return false;
}

static struct control *open_inherited(struct ubdsrv_ctrl_dev_info *ret_info, GError **err)
{
	struct ctl_fds fds = ctl_fds_inherited();

	if (fds.control >= 0)
		return control_adopt(fds.control, ret_info, err);
	tool_error(
		"no device is given, and none was passed on by 'ubdctl run' or 'ubdctl receive'");
	return NULL;
}

struct control *ctl_open(const char *name, struct ubdsrv_ctrl_dev_info *ret_info)
{
	g_autoptr(GError) err = NULL;
	struct control *control;
	uint32_t id;

	if (name && !ctl_parse_device(name, &id))
		return NULL;
	control = name ? control_open_dev(id, ret_info, &err) : open_inherited(ret_info, &err);
	if (err)
		tool_error("%s", err->message);
	return control;
}

/* ---- main ---- */

static int hint(const char *fmt, const char *word)
{
	g_autofree char *reason = g_strdup_printf(fmt, word);

	tool_error("%s; try '%s --help'", reason, tool_name());
	return EXIT_FAILURE;
}

static int run_command(char **argv)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(&commands[i], argv);
	return hint("Command not found: %s", argv[0]);
}

/* Standard output may be a full disk or a closed pipe: then what was to be told was not told. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	tool_error("standard output: %s", g_strerror(errno));
	return status ?: EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	tool_init("ubdctl");
	if (argc < 2)
		return hint("Not enough arguments%s", "");
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)
		print_help();
	else if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0)
		tool_print_version();
	else if (argv[1][0] == '-')
		return hint("Unknown option %s", argv[1]);
	else
		return finish(run_command(argv + 1));
	return finish(EXIT_SUCCESS);
}
