// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * null-bench: the devices of Linux's own ublk, as its interface header documents them. That of
 * Debian 12 is older than the commands' numbers, which later kernels want to be encoded as
 * those of ioctls are, and than batches.
 */
#include "null-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define CONTROL_COMMAND(nr) _IOWR('u', nr, struct ublksrv_ctrl_cmd)
#define IO_COMMAND(nr)	    _IOWR('u', nr, struct ublksrv_io_cmd)
#define BATCH_COMMAND(nr)   _IOWR('u', nr, struct ublk_batch)

/* Batches, of Linux 7.0: UBLK_F_BATCH_IO, UBLK_U_IO_*_IO_CMDS, UBLK_BATCH_F_HAS_BUF_ADDR. */
#define UBLK_BATCHES	    (1ull << 15)
#define PREP_NR		    0x25
#define COMMIT_NR	    0x26
#define FETCH_NR	    0x27
#define HAS_BUFFER_ADDR	    (1u << 1)

/* The argument of these commands, struct ublk_batch_io. */
struct ublk_batch {
	uint16_t q_id;
	uint16_t flags;
	uint16_t nr_elem;
	uint8_t elem_bytes;
	uint8_t reserved;
	uint64_t reserved2;
};

/* What an array of a batch consists of: struct ublk_elem_header, and the address of a buffer. */
struct ublk_entry {
	uint16_t tag;
	uint16_t buf_index;
	int32_t result;
	uint64_t addr;
};

/* The one server of null-bench may take the one kind for the other. */
_Static_assert(
	sizeof(struct ublksrv_io_cmd) == sizeof(struct ubdsrv_io_cmd) &&
		offsetof(struct ublksrv_io_cmd, tag) == offsetof(struct ubdsrv_io_cmd, tag) &&
		offsetof(struct ublksrv_io_cmd, result) == offsetof(struct ubdsrv_io_cmd, result) &&
		offsetof(struct ublksrv_io_cmd, addr) == offsetof(struct ubdsrv_io_cmd, addr),
	"commands differ");
_Static_assert(sizeof(struct ublk_entry) == sizeof(struct ubd_batch_entry) &&
		       offsetof(struct ublk_entry, result) ==
			       offsetof(struct ubd_batch_entry, result) &&
		       offsetof(struct ublk_entry, addr) == offsetof(struct ubd_batch_entry, addr),
	       "batches differ");
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

static void add_with(struct disk *disk, uint64_t flags)
{
	struct ublksrv_ctrl_dev_info info = {
		.nr_hw_queues = disk->nr_queues,
		.queue_depth = disk->depth,
		.dev_id = -1,
		.max_io_buf_bytes = IO_BYTES,
		.flags = flags,
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

static void add(struct disk *disk)
{
	add_with(disk, 0);
}

static void add_for_batches(struct disk *disk)
{
	add_with(disk, UBLK_BATCHES);
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

static void prep_fetch(struct io_uring_sqe *sqe, unsigned q_id)
{
	const struct ublk_batch batch = { .q_id = q_id, .elem_bytes = sizeof(uint16_t) };

	sqe->cmd_op = BATCH_COMMAND(FETCH_NR);
	memcpy(sqe->cmd, &batch, sizeof(batch));
}

static void prep_batch(struct io_uring_sqe *sqe, uint32_t op, unsigned q_id,
		       const struct ubd_batch_entry *entries, unsigned count)
{
	const struct ublk_batch batch = {
		.q_id = q_id,
		.flags = HAS_BUFFER_ADDR,
		.nr_elem = count,
		.elem_bytes = sizeof(struct ublk_entry),
	};

	sqe->cmd_op = op;
	sqe->addr = (uintptr_t)entries;
	memcpy(sqe->cmd, &batch, sizeof(batch));
}

static void prep_first(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
		       unsigned count)
{
	prep_batch(sqe, BATCH_COMMAND(PREP_NR), q_id, entries, count);
}

static void prep_commit(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
			unsigned count)
{
	prep_batch(sqe, BATCH_COMMAND(COMMIT_NR), q_id, entries, count);
}

const struct driver ublk_driver = {
	.name = "ublk",
	.node = "ublk",
	.fetch = IO_COMMAND(UBLK_IO_FETCH_REQ),
	.commit_and_fetch = IO_COMMAND(UBLK_IO_COMMIT_AND_FETCH_REQ),
	.desc_stride = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc),
	.add = add,
	.start = start,
	.stop = stop,
	.remove = remove_disk,
};

const struct driver ublk_batch_driver = {
	.name = "ublk-batch",
	.node = "ublk",
	.desc_stride = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc),
	.prep_fetch = prep_fetch,
	.prep_first = prep_first,
	.prep_commit = prep_commit,
	.add = add_for_batches,
	.start = start,
	.stop = stop,
	.remove = remove_disk,
};
