// SPDX-License-Identifier: GPL-2.0-or-later
/* The options that limit the requests of a disk; see options_throttle.h. */
#include "options_throttle.h"

#include <errno.h>

#include "error.h"
#include "throttle_limits.h"
#include "values.h"

static struct {
	char *iops, *bps, *limits, *group;
} given;

/* Of the process, on which those of its disks are built. */
static __typeof__(given) process_given;

const GOptionEntry throttle_option_entries[] = {
	{ "iops", 0, 0, G_OPTION_ARG_STRING, &given.iops,
	  "Limit requests per second; see also --throttle", "N" },
	{ "bps", 0, 0, G_OPTION_ARG_STRING, &given.bps,
	  "Limit bytes per second; see also --throttle", "SIZE" },
	{ "throttle", 0, 0, G_OPTION_ARG_STRING, &given.limits,
	  "Limits as in QEMU: iops-total=N, bps-read=SIZE, bps-read-max=SIZE, ...",
	  "LIMIT=VALUE,..." },
	{ "throttle-group", 0, 0, G_OPTION_ARG_STRING, &given.group,
	  "Share the limits of this --object throttle-group with all disks that name it", "ID" },
	{},
};

void throttle_options_keep(void)
{
	process_given = given;
}

void throttle_options_restore(void)
{
	given = process_given;
}

static void free_own(char *text, const char *of_process)
{
	if (text != of_process)
		g_free(text);
}

void throttle_options_drop(void)
{
	free_own(given.iops, process_given.iops);
	free_own(given.bps, process_given.bps);
	free_own(given.limits, process_given.limits);
	free_own(given.group, process_given.group);
}

static int take_simple(struct throttle_config *config, const char *option, const char *value,
		       const char *name, GError **err)
{
	uint64_t number;

	if (!value)
		return 0;
	if (size_parse(value, &number) || !number)
		return error_refuse(err, -EINVAL, "--%s: \"%s\" is not a positive number", option,
				    value);
	throttle_config_set(config, name, number);
	return 0;
}

static int take_limits(struct throttle_group *group, GError **err)
{
	struct throttle_config config;
	int ret;

	throttle_group_get(group, &config);
	ret = given.limits ? throttle_config_parse(&config, given.limits, err) : 0;
	ret = ret ?: take_simple(&config, "iops", given.iops, "iops-total", err);
	ret = ret ?: take_simple(&config, "bps", given.bps, "bps-total", err);
	return ret ?: throttle_group_set(group, &config, err);
}

static struct throttle_group *take_group(GError **err)
{
	struct throttle_group *group = throttle_group_find(given.group);

	if (given.iops || given.bps || given.limits)
		error_refuse(err, -EINVAL,
			     "--throttle-group: cannot be given with --iops, --bps or --throttle, "
			     "because the limits are those of the group");
	else if (!group)
		error_refuse(err, -EINVAL,
			     "--throttle-group: there is no --object throttle-group "
			     "with the ID \"%s\"",
			     given.group);
	else
		return group;
	return NULL;
}

struct throttle_group *throttle_options_take(GError **err)
{
	struct throttle_group *group;

	if (given.group)
		return take_group(err);
	group = throttle_group_new();
	if (take_limits(group, err) == 0)
		return group;
	throttle_group_free(group);
	return NULL;
}
