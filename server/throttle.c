// SPDX-License-Identifier: GPL-2.0-or-later
/* The command `throttle`; see throttle.h. */
#include "throttle.h"

#include <errno.h>
#include <string.h>

#include "answer.h"
#include "error.h"
#include "report.h"
#include "throttle_limits.h"

/* null removes all limits. */
static int change(struct throttle_config *config, const json_t *limits, GError **err)
{
	const char *name;
	json_t *value;

	if (json_is_null(limits))
		throttle_config_init(config);
	else if (!json_is_object(limits))
		return error_refuse(err, -EINVAL, "\"limits\" must be an object or null");
	json_object_foreach((json_t *)limits, name, value)
	{
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return error_refuse(err, -EINVAL, "\"%s\" must be a number", name);
		if (!throttle_config_set(config, name, json_integer_value(value)))
			return error_refuse(err, -EINVAL, "there is no limit \"%s\"", name);
	}
	return 0;
}

static void add_limit(void *arg, const char *name, uint64_t value)
{
	answer_set_number(arg, name, value);
}

static void add_text(void *arg, const char *name, uint64_t value)
{
	g_string_append_printf(arg, " %s=%" G_GUINT64_FORMAT, name, value);
}

static void report_change(const struct command_target *on, const struct throttle_config *config)
{
	GString *text = g_string_new(NULL);

	throttle_config_for_each(config, add_text, text);
	report_verbose("%s: limits:%s", target_name(on->target), text->len ? text->str : " none");
	g_string_free(text, TRUE);
}

int throttle_answer(const struct command_target *on, const json_t *request, json_t *answer,
		    GError **err)
{
	const json_t *limits = json_object_get(request, "limits");
	json_t *now = json_object();
	struct throttle_config config;
	int ret = 0;

	throttle_group_get(on->throttle, &config);
	if (limits)
		ret = change(&config, limits, err)
			      ?: throttle_group_set(on->throttle, &config, err);
	if (limits && !ret)
		report_change(on, &config);
	throttle_group_get(on->throttle, &config);
	throttle_config_for_each(&config, add_limit, now);
	json_object_set_new(answer, "limits", now);
	return ret;
}
