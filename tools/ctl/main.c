// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl: looks at devices, ends them, and hands them to others. Here is what the commands share.
 */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "std_fds.h"
#include "tool.h"

static const struct command commands[] = {
	{ "delete", "Stops a device, deletes it and frees its number", ctl_delete },
	{ "grant", "Hands descriptors of a device to another process", ctl_grant },
	{ "info", "Says what a device is", ctl_info },
	{ "list", "Lists all devices", ctl_list },
	{ "quiesce", "Has the server of a device with recovery leave", ctl_quiesce },
	{ "receive", "Runs a program with the descriptors that were granted", ctl_receive },
	{ "resize", "Asks a server to let its disk grow", ctl_resize },
	{ "run", "Runs a program with descriptors of a device", ctl_run },
	{ "status", "Show what a server has done, and what has failed", ctl_status },
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
	command_print_all(commands, G_N_ELEMENTS(commands));
}

/* ---- what the commands share ---- */

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

int main(int argc, char **argv)
{
	std_fds_open();
	return command_main("ubdctl", commands, G_N_ELEMENTS(commands), print_help, argc, argv);
}
