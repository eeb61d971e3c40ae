// SPDX-License-Identifier: GPL-2.0-or-later
/* Arguments that several commands of ubdctl have. */
#include <errno.h>
#include <stdlib.h>
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

/* As udev makes them, such as /dev/disk/by-id/ubd-NAME. */
static bool is_link_to_device(const char *text, const struct transport_ops **ret_driver,
			      uint32_t *ret_id)
{
	g_autofree char *target = NULL;

	if (!g_str_has_prefix(text, "/dev/disk/"))
		return false;
	target = realpath(text, NULL);
	*ret_driver = target ? transport_by_name(target, ret_id) : NULL;
	return *ret_driver;
}

bool ctl_is_device(const char *text, const struct transport_ops **ret_driver, uint32_t *ret_id)
{
	const char *digits = g_str_has_prefix(text, "/dev/") ? text + strlen("/dev/") : text;
	guint64 id;

	*ret_driver = transport_by_name(text, ret_id);
	if (*ret_driver || is_link_to_device(text, ret_driver, ret_id))
		return true;
	if (!g_ascii_string_to_unsigned(digits, 10, 0, INT32_MAX, &id, NULL))
		return false;
	*ret_driver = &transport_ubd;
	*ret_id = id;
	return true;
}

bool ctl_parse_device(const char *text, const struct transport_ops **ret_driver, uint32_t *ret_id)
{
	if (ctl_is_device(text, ret_driver, ret_id))
		return true;
	tool_error("\"%s\" is not a device; expected a number or a disk such as /dev/ubdb0", text);
	return false;
}

static struct transport *open_named(const char *name, struct transport_info *ret_info, GError **err)
{
	const struct transport_ops *driver;
	uint32_t id;

	return ctl_parse_device(name, &driver, &id) ? driver->open(id, ret_info, err) : NULL;
}

static struct transport *open_inherited(struct transport_info *ret_info, GError **err)
{
	struct ctl_fds fds = ctl_fds_inherited();

	if (fds.control >= 0)
		return transport_ubd.adopt(fds.control, ret_info, err);
	tool_error(
		"no device was given, and none was passed on by 'ubdctl run' or 'ubdctl receive'");
	return NULL;
}

struct transport *ctl_open(const char *name, struct transport_info *ret_info)
{
	g_autoptr(GError) err = NULL;
	struct transport *transport =
		name ? open_named(name, ret_info, &err) : open_inherited(ret_info, &err);

	if (err)
		tool_error("%s", err->message);
	return transport;
}

const char *ctl_reason(int res, const struct transport *transport, const char *what)
{
	static char text[128];

	if (res == -ESRCH)
		return "its server cannot be asked from here; it is in another PID namespace";
	if (res != -EOPNOTSUPP)
		return g_strerror(-res);
	g_snprintf(text, sizeof(text), "%s does not have %s", transport->ops->name, what);
	return text;
}

char *ctl_printable(const char *text)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	GString *printable = g_string_new(NULL);

	/* Also U+009B, which terminals may take for an escape sequence. */
	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		g_string_append_unichar(printable, g_unichar_iscntrl(c) ? '?' : c);
	}
	return g_string_free(printable, FALSE);
}

char *ctl_short_time(double us)
{
	static const struct {
		const char *name;
		double us;
	} units[] = { { "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "h", 3600e6 } };
	unsigned i = 0;

	while (i + 1 < G_N_ELEMENTS(units) && us >= units[i + 1].us * 0.9995)
		i++;
	us /= units[i].us;
	return g_strdup_printf(us < 9.95 && us > 0 ? "%.1f%s" : "%.0f%s", us, units[i].name);
}
