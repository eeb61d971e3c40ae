// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds an ubdctl for which every device is one of ublk's that process $PLAYED_SERVER serves,
 * until there is a file $PLAYED_LEFT. Its commands are only printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl.h"

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	const char *left = getenv("PLAYED_LEFT");

	*ret_info = (struct transport_info){
		.state = TRANSPORT_LIVE,
		.recovery = getenv("PLAYED_RECOVERY") ? RECOVERY_REISSUE : RECOVERY_NONE,
		.server_pid = atoi(getenv("PLAYED_SERVER")),
	};
	if (left && access(left, F_OK) == 0) {
		ret_info->state = TRANSPORT_QUIESCED;
		ret_info->server_pid = -1;
	}
	return 0;
}

/* Any file does. */
static int get_fd(const struct transport *transport)
{
	static int fd = -1;

	if (!getenv("PLAYED_FD"))
		return -EOPNOTSUPP;
	if (fd < 0)
		fd = open(getenv("PLAYED_FD"), O_RDONLY | O_CLOEXEC);
	return fd;
}

static int stop(struct transport *transport)
{
	puts("stop");
	return 0;
}

/* Fails with $PLAYED_ERROR. */
static int stop_if_unused(struct transport *transport)
{
	const char *error = getenv("PLAYED_ERROR");

	puts("stop if unused");
	return error ? -atoi(error) : 0;
}

static int delete_device(struct transport *transport)
{
	puts("delete");
	return 0;
}

static void free_handle(struct transport *transport)
{
}

static struct transport_ops ops;
static struct transport device = { .ops = &ops, .path = "/dev/ublkb7" };

struct transport *__wrap_ctl_open(const char *name, struct transport_info *ret_info);

struct transport *__wrap_ctl_open(const char *name, struct transport_info *ret_info)
{
	ops = transport_ublk;
	ops.get_info = get_info;
	ops.fd = get_fd;
	ops.stop = stop;
	ops.stop_if_unused = stop_if_unused;
	ops.delete = delete_device;
	ops.free = free_handle;
	get_info(&device, ret_info);
	return &device;
}
