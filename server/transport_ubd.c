// SPDX-License-Identifier: GPL-2.0-or-later
/* The queues of ubd.ko: the commands by which requests are fetched; docs/protocol.md. */
#include <linux/ubd_cmd.h>
#include <string.h>

#include "align.h"
#include "fetch_wire.h"
#include "transport_queues.h"

static enum request_op op_of(const struct ubdsrv_io_desc *desc)
{
	switch (ubd_desc_op(desc)) {
	case UBD_IO_OP_READ:
		return REQUEST_READ;
	case UBD_IO_OP_WRITE:
		return REQUEST_WRITE;
	case UBD_IO_OP_FLUSH:
		return REQUEST_FLUSH;
	case UBD_IO_OP_DISCARD:
		return REQUEST_DISCARD;
	case UBD_IO_OP_WRITE_ZEROES:
		return REQUEST_WRITE_ZEROES;
	default:
		return REQUEST_UNKNOWN;
	}
}

static void describe(const void *from, struct request_desc *ret_desc)
{
	const struct ubdsrv_io_desc *desc = from;

	*ret_desc = (struct request_desc){
		.op = op_of(desc),
		.fua = desc->op_flags & UBD_IO_F_FUA,
		.may_unmap = !(desc->op_flags & UBD_IO_F_NOUNMAP),
		.registered = desc->op_flags & UBD_IO_F_REGISTERED,
		.guest_off = desc->start_sector << SECTOR_SHIFT,
		.bytes = (uint64_t)desc->nr_sectors << SECTOR_SHIFT,
	};
}

static void prep(struct io_uring_sqe *sqe, uint32_t op, const struct ubdsrv_io_cmd *cmd)
{
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
}

static void prep_first(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, uint64_t addr)
{
	const struct ubdsrv_io_cmd cmd = { .q_id = q_id, .tag = tag, .addr = addr };

	prep(sqe, UBD_IO_FETCH_REQ, &cmd);
}

static void prep_answer(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, int32_t result,
			uint64_t addr)
{
	const struct ubdsrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = tag,
		.result = result,
		.addr = addr,
	};

	prep(sqe, UBD_IO_COMMIT_AND_FETCH_REQ, &cmd);
}

_Static_assert(sizeof(struct fetch_entry) == sizeof(struct ubd_batch_entry) &&
		       offsetof(struct fetch_entry, tag) == offsetof(struct ubd_batch_entry, tag) &&
		       offsetof(struct fetch_entry, own) ==
			       offsetof(struct ubd_batch_entry, flags) &&
		       offsetof(struct fetch_entry, result) ==
			       offsetof(struct ubd_batch_entry, result) &&
		       offsetof(struct fetch_entry, addr) == offsetof(struct ubd_batch_entry, addr),
	       "an entry is the driver's");

static void prep_batch(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
		       unsigned count, uint16_t flags)
{
	const struct ubdsrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = count,
		.addr = (uintptr_t)entries,
	};

	for (unsigned i = 0; i < count; i++)
		entries[i].own = flags;
	prep(sqe, UBD_IO_COMMIT_BATCH, &cmd);
}

static void prep_first_batch(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			     unsigned count)
{
	prep_batch(sqe, q_id, entries, count, UBD_BATCH_FETCH);
}

static void prep_answers(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			 unsigned count)
{
	prep_batch(sqe, q_id, entries, count, UBD_BATCH_COMMIT | UBD_BATCH_FETCH);
}

static void prep_announce(struct io_uring_sqe *sqe, uint16_t q_id)
{
	const struct ubdsrv_io_cmd cmd = { .q_id = q_id };

	prep(sqe, UBD_IO_FETCH_BATCH, &cmd);
}

static const struct fetch_wire wire = {
	.desc_bytes = sizeof(struct ubdsrv_io_desc),
	.desc_stride = UBD_DESC_MMAP_STRIDE,
	.describe = describe,
	.res_ended = UBD_IO_RES_ABORT,
	.prep_first = prep_first,
	.prep_answer = prep_answer,
	.prep_first_batch = prep_first_batch,
	.prep_answers = prep_answers,
	.prep_announce = prep_announce,
};

static uint64_t data_off(uint16_t q_id, uint16_t tag)
{
	return ubd_data_offset(q_id, tag);
}

const struct transport_queues transport_queues_ubd = {
	.fetch = &fetch_by_tags,
	.fetch_batches = &fetch_by_batches,
	.ring_uses = RING_COMMANDS | RING_BUFFERS,
	.wires = {
		[DATA_COPY] = &wire,
		[DATA_USER_COPY] = &wire,
		[DATA_ZERO_COPY] = &wire,
	},
	.data_off = data_off,
	.result_lost = UBD_IO_RES_LOST,
};
