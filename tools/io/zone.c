// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-io: the commands for zoned block devices. No image that can be opened is zoned, so they check
 * their words and say so.
 */
#include <errno.h>
#include <string.h>

#include "io.h"

static int refuse(const struct io_command *command)
{
	const char *what = strchr(command->name, '_') + 1;

	return io_refuse("zone %s failed: %s", what, g_strerror(ENOTSUP));
}

int io_co_cmd_zone(struct io_session *session, const struct io_command *command, char **argv)
{
	uint64_t off, count;

	if (io_parse_size(argv[1], &off) || io_parse_size(argv[2], &count))
		return -EINVAL;
	return refuse(command);
}

int io_co_cmd_zone_append(struct io_session *session, const struct io_command *command, char **argv)
{
	const struct io_option options[] = {
		{ 'p', IO_OPTION_FLAG, &(bool){ false } },
		{},
	};
	uint64_t number;
	char **words;

	if (io_parse(command, options, 2, -1, argv, &words))
		return -EINVAL;
	for (; *words; words++)
		if (io_parse_size(*words, &number))
			return -EINVAL;
	return refuse(command);
}
