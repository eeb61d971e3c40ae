// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Builds an ubdctl for which every device is one of ublk's that process $PLAYED_SERVER serves. Its
 * commands are only printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ctl.h"

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	*ret_info = (struct transport_info){ .server_pid = atoi(getenv("PLAYED_SERVER")) };
	return 0;
}

static int stop(struct transport *transport)
{
	puts("stop");
	return 0;
}

static int stop_if_unused(struct transport *transport)
{
	puts("stop if unused");
	return 0;
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
/* Fails with $PLAYED_ERROR. */
	ops.stop = stop;
	ops.stop_if_unused = stop_if_unused;
	const char *error = getenv("PLAYED_ERROR");

	ops.delete = delete_device;
	ops.free = free_handle;
	get_info(&device, ret_info);
	return &device;
}
