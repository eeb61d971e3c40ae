// SPDX-License-Identifier: GPL-2.0-or-later
/* Limits by name; see throttle_limits.h. */
#include "throttle_limits.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "option_list.h"
#include "values.h"

#define IOPS_SIZE "iops-size"
#define PREFIX	  "throttling."

const char *const throttle_kind_names[THROTTLE_KINDS] = {
	[THROTTLE_BPS_TOTAL] = "bps-total", [THROTTLE_BPS_READ] = "bps-read",
	[THROTTLE_BPS_WRITE] = "bps-write", [THROTTLE_IOPS_TOTAL] = "iops-total",
	[THROTTLE_IOPS_READ] = "iops-read", [THROTTLE_IOPS_WRITE] = "iops-write",
};

static void set_rate(struct throttle_limit *limit, uint64_t rate)
{
	limit->rate = rate;
	if (rate)
		return;
	limit->burst_rate = 0;
	limit->burst_length = 1;
}

static bool set_limit(struct throttle_limit *limit, const char *suffix, uint64_t value)
{
	if (!*suffix)
		set_rate(limit, value);
	else if (strcmp(suffix, "-max") == 0)
		limit->burst_rate = value;
	else if (strcmp(suffix, "-max-length") == 0)
		limit->burst_length = value;
	else
		return false;
	return true;
}

bool throttle_config_set(struct throttle_config *config, const char *name, uint64_t value)
{
	if (strcmp(name, IOPS_SIZE) == 0) {
		config->iops_size = value;
		return true;
	}
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++) {
		const char *kind_name = throttle_kind_names[kind];

		if (!g_str_has_prefix(name, kind_name))
			continue;
		config->has_iops |= kind >= THROTTLE_IOPS_TOTAL;
		return set_limit(&config->limits[kind], name + strlen(kind_name), value);
	}
	return false;
}

static void tell_limit(const char *name, const struct throttle_limit *limit,
		       void (*fn)(void *arg, const char *name, uint64_t value), void *arg)
{
	g_autofree char *max = g_strconcat(name, "-max", NULL);
	g_autofree char *length = g_strconcat(name, "-max-length", NULL);

	if (limit->rate)
		fn(arg, name, limit->rate);
	if (limit->burst_rate)
		fn(arg, max, limit->burst_rate);
	if (limit->burst_length > 1)
		fn(arg, length, limit->burst_length);
}

void throttle_config_for_each(const struct throttle_config *config,
			      void (*fn)(void *arg, const char *name, uint64_t value), void *arg)
{
	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		tell_limit(throttle_kind_names[kind], &config->limits[kind], fn, arg);
	if (config->iops_size)
		fn(arg, IOPS_SIZE, config->iops_size);
}

static int parse_part(struct throttle_config *config, char *part, GError **err)
{
	const char *name = g_str_has_prefix(part, PREFIX) ? part + strlen(PREFIX) : part;
	char *value = strchr(part, '=');
	uint64_t number;

	if (!value)
		return error_refuse(err, -EINVAL, "\"%s\" is not a limit, such as iops-total=1000",
				    part);
	*value++ = '\0';
	if (size_parse(value, &number))
		return error_refuse(err, -EINVAL, "%s: \"%s\" is not a number, such as 10M", name,
				    value);
	if (!throttle_config_set(config, name, number))
		return error_refuse(err, -EINVAL,
				    "there is no limit \"%s\"; there are bps-total, bps-read, "
				    "bps-write, iops-total, iops-read and iops-write, each also "
				    "with -max and -max-length, and iops-size",
				    name);
	return 0;
}

int throttle_config_parse(struct throttle_config *config, const char *list, GError **err)
{
	int ret = 0;

	if (strcmp(list, "none") == 0) {
		throttle_config_init(config);
		return 0;
	}
	if (!*list)
		return error_refuse(err, -EINVAL, "no limits were given");
	while (!ret && list && *list) {
		g_autofree char *part = option_list_next(&list);

		ret = parse_part(config, part, err);
	}
	return ret;
}
