// SPDX-License-Identifier: GPL-2.0-or-later
/* null-bench: the devices of ubd. */
#include "null-bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int control(const char *what, int fd, uint32_t op, void *buf, size_t len)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = len, .addr = (uintptr_t)buf };

	return command(what, fd, op, &cmd, sizeof(cmd));
}

static void add_with(struct disk *disk, uint64_t flags)
{
	struct ubdsrv_ctrl_dev_info info = {
		.nr_hw_queues = disk->nr_queues,
		.queue_depth = disk->depth,
		.dev_id = UBD_DEV_ID_ANY,
		.max_io_bytes = IO_BYTES,
		.flags = flags,
	};
	struct ubd_params params = {
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 4096,
		.max_io_sectors = IO_BYTES >> 9,
		.dev_sectors = disk->bytes >> 9,
	};
	int node = check("/dev/ubd-control", open("/dev/ubd-control", O_RDWR | O_CLOEXEC));
	char name[32];

	disk->control = control("ADD_DEV", node, UBD_CMD_ADD_DEV, &info, sizeof(info));
	close(node);
	disk->id = info.dev_id;
	disk->nr_queues = info.nr_hw_queues;
	control("SET_PARAMS", disk->control, UBD_CMD_SET_PARAMS, &params, sizeof(params));
	snprintf(name, sizeof(name), "/dev/ubdc%u", disk->id);
	disk->cdev = check(name, open(name, O_RDWR | O_CLOEXEC));
}

static void add(struct disk *disk)
{
	add_with(disk, 0);
}

static void add_for_batches(struct disk *disk)
{
	add_with(disk, UBD_F_BATCH);
}

static void start(struct disk *disk)
{
	control("START_DEV", disk->control, UBD_CMD_START_DEV, NULL, 0);
}

static void stop(struct disk *disk)
{
	control("STOP_DEV", disk->control, UBD_CMD_STOP_DEV, NULL, 0);
}

static void remove_disk(struct disk *disk)
{
	close(disk->cdev);
	control("DEL_DEV", disk->control, UBD_CMD_DEL_DEV, NULL, 0);
	close(disk->control);
}

static void prep_fetch(struct io_uring_sqe *sqe, unsigned q_id)
{
	const struct ubdsrv_io_cmd cmd = { .q_id = q_id };

	sqe->cmd_op = UBD_IO_FETCH_BATCH;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

static void prep_batch(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
		       unsigned count, unsigned flags)
{
	const struct ubdsrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = count,
		.addr = (uintptr_t)entries,
	};

	for (unsigned i = 0; i < count; i++)
		entries[i].flags = flags;
	sqe->cmd_op = UBD_IO_COMMIT_BATCH;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

static void prep_first(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
		       unsigned count)
{
	prep_batch(sqe, q_id, entries, count, UBD_BATCH_FETCH);
}

static void prep_commit(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
			unsigned count)
{
	prep_batch(sqe, q_id, entries, count, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
}

const struct driver ubd_driver = {
	.name = "ubd",
	.node = "ubd",
	.fetch = UBD_IO_FETCH_REQ,
	.commit_and_fetch = UBD_IO_COMMIT_AND_FETCH_REQ,
	.commit = UBD_IO_COMMIT_REQ,
	.desc_stride = UBD_DESC_MMAP_STRIDE,
	.add = add,
	.start = start,
	.stop = stop,
	.remove = remove_disk,
};

const struct driver ubd_batch_driver = {
	.name = "ubd-batch",
	.node = "ubd",
	.desc_stride = UBD_DESC_MMAP_STRIDE,
	.prep_fetch = prep_fetch,
	.prep_first = prep_first,
	.prep_commit = prep_commit,
	.add = add_for_batches,
	.start = start,
	.stop = stop,
	.remove = remove_disk,
};
