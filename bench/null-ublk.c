// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * null-bench: the devices of Linux's own ublk, as its interface header documents them. Debian 12's
 * copy of it is older than the command numbers that later kernels expect, which are encoded like
 * those of ioctls, and than batches.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "error.h"
#include "fetch_wire.h"
#include "null-bench.h"
#include "params.h"

#define CONTROL_NODE	    "/dev/ublk-control"
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

/* An element of a batch: struct ublk_elem_header, and the address of a buffer. */
struct ublk_entry {
	uint16_t tag;
	uint16_t buf_index;
	int32_t result;
	uint64_t addr;
};

_Static_assert(sizeof(struct fetch_entry) == sizeof(struct ublk_entry) &&
		       offsetof(struct fetch_entry, tag) == offsetof(struct ublk_entry, tag) &&
		       offsetof(struct fetch_entry, result) ==
			       offsetof(struct ublk_entry, result) &&
		       offsetof(struct fetch_entry, addr) == offsetof(struct ublk_entry, addr),
	       "an entry is the driver's");

struct ublk_device {
	struct transport transport;
	int control; /* CONTROL_NODE, whose commands name the device by number */
	uint32_t id;
};

/* ---- control ---- */

/* On its own ring, whose entries have the 128 bytes that these commands take. 0 or -errno. */
static int control_command(const struct ublk_device *device, unsigned nr, void *buf, size_t len,
			   uint64_t data)
{
	const struct ublksrv_ctrl_cmd cmd = {
		.dev_id = device->id,
		.queue_id = -1,
		.len = len,
		.addr = (uintptr_t)buf,
		.data = { data },
	};
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int res = io_uring_queue_init(1, &ring, IORING_SETUP_SQE128);

	if (res < 0)
		return res;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, device->control, NULL, 0, 0);
	sqe->cmd_op = CONTROL_COMMAND(nr);
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	res = io_uring_submit_and_wait(&ring, 1);
	if (res >= 0)
		res = io_uring_wait_cqe(&ring, &cqe);
	if (res == 0)
		res = cqe->res;
	io_uring_queue_exit(&ring);
	return res;
}

static int command(const struct transport *transport, unsigned nr, uint64_t data)
{
	return control_command((const struct ublk_device *)transport, nr, NULL, 0, data);
}

static void free_handle(struct transport *transport)
{
	struct ublk_device *device = (struct ublk_device *)transport;

	close(device->control);
	g_free(device);
}

static int add_dev(struct ublk_device *device, struct transport_info *info)
{
	struct ublksrv_ctrl_dev_info wire = {
		.nr_hw_queues = info->queues,
		.queue_depth = info->depth,
		.dev_id = info->id,
		.max_io_buf_bytes = info->max_io_bytes,
		.flags = info->batches ? UBLK_BATCHES : 0,
	};
	int res = control_command(device, UBLK_CMD_ADD_DEV, &wire, sizeof(wire), 0);

	if (res < 0)
		return res;
	device->id = info->id = wire.dev_id;
	info->queues = wire.nr_hw_queues;
	g_snprintf(device->transport.path, sizeof(device->transport.path), "/dev/%s%u",
		   transport_ublk.disk_name, device->id);
	return 0;
}

static struct transport *add(struct transport_info *info, const struct identity *identity,
			     GError **err)
{
	int control = open(CONTROL_NODE, O_RDWR | O_CLOEXEC), res;
	struct ublk_device *device;

	if (control < 0) {
		error_set(err, -errno, CONTROL_NODE);
		return NULL;
	}
	device = g_new0(struct ublk_device, 1);
	*device = (struct ublk_device){ { .ops = &transport_ublk }, control, info->id };
	res = add_dev(device, info);
	if (res == 0)
		return &device->transport;
	error_set(err, res, "ADD_DEV");
	free_handle(&device->transport);
	return NULL;
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	struct ublk_params wire = {
		.len = sizeof(wire),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = g_bit_storage(params->logical_block_size) - 1,
			.physical_bs_shift = g_bit_storage(params->physical_block_size) - 1,
			.io_min_shift = g_bit_storage(params->io_min) - 1,
			.io_opt_shift = g_bit_storage(params->io_opt) - 1,
			.max_sectors = params->max_io_sectors,
			.dev_sectors = params->dev_sectors,
		},
	};

	return control_command((struct ublk_device *)transport, UBLK_CMD_SET_PARAMS, &wire,
			       sizeof(wire), 0);
}

static int open_server_file(struct transport *transport, GError **err)
{
	const struct ublk_device *device = (const struct ublk_device *)transport;
	g_autofree char *name = g_strdup_printf("/dev/ublkc%u", device->id);
	int fd = open(name, O_RDWR | O_CLOEXEC);

	return fd >= 0 ? fd : error_set(err, -errno, "%s", name);
}

static int start(struct transport *transport)
{
	return command(transport, UBLK_CMD_START_DEV, getpid());
}

static int stop(struct transport *transport)
{
	return command(transport, UBLK_CMD_STOP_DEV, 0);
}

static int delete (struct transport *transport)
{
	return command(transport, UBLK_CMD_DEL_DEV, 0);
}

/* ---- queues ---- */

static enum request_op op_of(const struct ublksrv_io_desc *desc)
{
	switch (ublksrv_get_op(desc)) {
	case UBLK_IO_OP_READ:
		return REQUEST_READ;
	case UBLK_IO_OP_WRITE:
		return REQUEST_WRITE;
	case UBLK_IO_OP_FLUSH:
		return REQUEST_FLUSH;
	case UBLK_IO_OP_DISCARD:
		return REQUEST_DISCARD;
	case UBLK_IO_OP_WRITE_ZEROES:
		return REQUEST_WRITE_ZEROES;
	default:
		return REQUEST_UNKNOWN;
	}
}

static void describe(const void *from, struct request_desc *ret_desc)
{
	const struct ublksrv_io_desc *desc = from;

	*ret_desc = (struct request_desc){
		.op = op_of(desc),
		.fua = desc->op_flags & UBLK_IO_F_FUA,
		.may_unmap = !(desc->op_flags & UBLK_IO_F_NOUNMAP),
		.guest_off = desc->start_sector << 9,
		.bytes = (uint64_t)desc->nr_sectors << 9,
	};
}

static void prep_tag(struct io_uring_sqe *sqe, uint32_t op, const struct ublksrv_io_cmd *cmd)
{
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
}

static void prep_first(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, uint64_t addr)
{
	const struct ublksrv_io_cmd cmd = { .q_id = q_id, .tag = tag, .addr = addr };

	prep_tag(sqe, IO_COMMAND(UBLK_IO_FETCH_REQ), &cmd);
}

static void prep_answer(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, int32_t result,
			uint64_t addr)
{
	const struct ublksrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = tag,
		.result = result,
		.addr = addr,
	};

	prep_tag(sqe, IO_COMMAND(UBLK_IO_COMMIT_AND_FETCH_REQ), &cmd);
}

static void prep_batch(struct io_uring_sqe *sqe, uint32_t op, uint16_t q_id,
		       const struct fetch_entry *entries, unsigned count)
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

static void prep_first_batch(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			     unsigned count)
{
	prep_batch(sqe, BATCH_COMMAND(PREP_NR), q_id, entries, count);
}

static void prep_answers(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			 unsigned count)
{
	prep_batch(sqe, BATCH_COMMAND(COMMIT_NR), q_id, entries, count);
}

static void prep_announce(struct io_uring_sqe *sqe, uint16_t q_id)
{
	const struct ublk_batch batch = { .q_id = q_id, .elem_bytes = sizeof(uint16_t) };

	sqe->cmd_op = BATCH_COMMAND(FETCH_NR);
	memcpy(sqe->cmd, &batch, sizeof(batch));
}

static const struct fetch_wire wire = {
	.desc_bytes = sizeof(struct ublksrv_io_desc),
	.desc_stride = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc),
	.describe = describe,
	.res_ended = UBLK_IO_RES_ABORT,
	.prep_first = prep_first,
	.prep_answer = prep_answer,
	.prep_first_batch = prep_first_batch,
	.prep_answers = prep_answers,
	.prep_announce = prep_announce,
};

const struct fetch_wire *const ublk_wire = &wire;

const struct transport_ops transport_ublk = {
	.disk_name = "ublkb",
	.add = add,
	.free = free_handle,
	.set_params = set_params,
	.open_server_file = open_server_file,
	.start = start,
	.stop = stop,
	.delete = delete,
};
