// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * null-bench: the devices of Linux's own ublk, as its interface header documents them. That of
 * Debian 12 is older than the commands' numbers, which later kernels want to be encoded as
 * those of ioctls are.
 */
#include "null-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#define CONTROL_COMMAND(nr) _IOWR('u', nr, struct ublksrv_ctrl_cmd)
#define IO_COMMAND(nr)	    _IOWR('u', nr, struct ublksrv_io_cmd)

/* The one server of null-bench may take the one kind for the other. */
_Static_assert(
	sizeof(struct ublksrv_io_cmd) == sizeof(struct ubdsrv_io_cmd) &&
		offsetof(struct ublksrv_io_cmd, tag) == offsetof(struct ubdsrv_io_cmd, tag) &&
		offsetof(struct ublksrv_io_cmd, result) == offsetof(struct ubdsrv_io_cmd, result) &&
		offsetof(struct ublksrv_io_cmd, addr) == offsetof(struct ubdsrv_io_cmd, addr),
	"commands differ");
_Static_assert(sizeof(struct ublksrv_io_desc) == sizeof(struct ubdsrv_io_desc) &&
		       offsetof(struct ublksrv_io_desc, start_sector) ==
			       offsetof(struct ubdsrv_io_desc, start_sector) &&
		       offsetof(struct ublksrv_io_desc, addr) ==
			       offsetof(struct ubdsrv_io_desc, addr),
	       "descriptors differ");
_Static_assert(UBLK_IO_OP_READ == UBD_IO_OP_READ && UBLK_IO_OP_WRITE == UBD_IO_OP_WRITE,
	       "operations differ");

/* Its commands name the device by number. */
static void control(const char *what, const struct disk *disk, unsigned nr, void *buf, size_t len,
		    uint64_t data)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = disk->id,
		.queue_id = -1,
		.len = len,
		.addr = (uintptr_t)buf,
		.data = { data },
	};

	command(what, disk->control, CONTROL_COMMAND(nr), &cmd, sizeof(cmd));
}

static void add(struct disk *disk)
{
	struct ublksrv_ctrl_dev_info info = {
		.nr_hw_queues = disk->nr_queues,
		.queue_depth = disk->depth,
		.dev_id = -1,
		.max_io_buf_bytes = IO_BYTES,
	};
	struct ublk_params params = {
		.len = sizeof(params),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 12,
			.io_min_shift = 12,
			.io_opt_shift = 12,
			.max_sectors = IO_BYTES >> 9,
			.dev_sectors = disk->bytes >> 9,
		},
	};
	char name[32];

	disk->control = check("/dev/ublk-control", open("/dev/ublk-control", O_RDWR | O_CLOEXEC));
	disk->id = -1;
	control("ADD_DEV", disk, UBLK_CMD_ADD_DEV, &info, sizeof(info), 0);
	disk->id = info.dev_id;
	disk->nr_queues = info.nr_hw_queues;
	control("SET_PARAMS", disk, UBLK_CMD_SET_PARAMS, &params, sizeof(params), 0);
	snprintf(name, sizeof(name), "/dev/ublkc%u", disk->id);
	disk->cdev = check(name, open(name, O_RDWR | O_CLOEXEC));
}

static void start(struct disk *disk)
{
	control("START_DEV", disk, UBLK_CMD_START_DEV, NULL, 0, getpid());
}

static void stop(struct disk *disk)
{
	control("STOP_DEV", disk, UBLK_CMD_STOP_DEV, NULL, 0, 0);
}

static void remove_disk(struct disk *disk)
{
	close(disk->cdev);
	control("DEL_DEV", disk, UBLK_CMD_DEL_DEV, NULL, 0, 0);
	close(disk->control);
}

const struct driver ublk_driver = {
	.name = "ublk",
	.fetch = IO_COMMAND(UBLK_IO_FETCH_REQ),
	.commit_and_fetch = IO_COMMAND(UBLK_IO_COMMIT_AND_FETCH_REQ),
	.desc_stride = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc),
	.add = add,
	.start = start,
	.stop = stop,
	.remove = remove_disk,
};
