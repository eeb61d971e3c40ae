// SPDX-License-Identifier: GPL-2.0-or-later
/* Arguments that several commands of ubdctl have. */
#include <string.h>

#include "ctl.h"
#include "tool.h"

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
	tool_error("\"%s\" is not a device; expected a number or /dev/ubdbN", text);
	return false;
}

static struct control *open_inherited(struct ubdsrv_ctrl_dev_info *ret_info, GError **err)
{
	struct ctl_fds fds = ctl_fds_inherited();

	if (fds.control >= 0)
		return control_adopt(fds.control, ret_info, err);
	tool_error(
		"no device was given, and none was passed on by 'ubdctl run' or 'ubdctl receive'");
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
