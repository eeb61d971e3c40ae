// SPDX-License-Identifier: GPL-2.0-or-later
/* ubd-io: breakpoints of a blkdebug node, at which requests of aio_ commands stop. */
#include "io.h"

int io_co_cmd_break(struct io_session *session, const struct io_command *command, char **argv)
{
	int ret = image_set_break(session->img, argv[1], argv[2]);

	if (ret)
		io_refuse("Could not set breakpoint: %s", g_strerror(-ret));
	return ret;
}

int io_co_cmd_remove_break(struct io_session *session, const struct io_command *command,
			   char **argv)
{
	int ret = image_remove_break(session->img, argv[1]);

	if (ret)
		io_refuse("Could not remove breakpoint %s: %s", argv[1], g_strerror(-ret));
	return ret;
}

int io_co_cmd_resume(struct io_session *session, const struct io_command *command, char **argv)
{
	int ret = image_resume(session->img, argv[1]);

	if (ret)
		io_refuse("Could not resume request: %s", g_strerror(-ret));
	return ret;
}

int io_co_cmd_wait_break(struct io_session *session, const struct io_command *command, char **argv)
{
	int ret = image_co_wait_break(session->img, argv[1]);

	/* Where QEMU waits for ever. */
	if (ret)
		io_refuse("Could not wait for breakpoint %s: %s", argv[1], g_strerror(-ret));
	return ret;
}
