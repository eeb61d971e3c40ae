// SPDX-License-Identifier: GPL-2.0-or-later
/* The queues of Linux's own ublk: the commands by which requests are fetched. */
#include <stddef.h>
#include <string.h>

#include "align.h"
#include "fetch_wire.h"
#include "transport_queues.h"
#include "ublk_abi.h"

_Static_assert(sizeof(struct ublk_io_cmd) == 16 && UBLK_FETCH == 0xc0107520,
	       "commands are the driver's");
_Static_assert(sizeof(struct ublk_desc) == 24, "descriptors are the driver's");

static enum request_op op_of(const struct ublk_desc *desc)
{
	switch (desc->op_flags & 0xff) {
	case UBLK_OP_READ:
		return REQUEST_READ;
	case UBLK_OP_WRITE:
		return REQUEST_WRITE;
	case UBLK_OP_FLUSH:
		return REQUEST_FLUSH;
	case UBLK_OP_DISCARD:
		return REQUEST_DISCARD;
	case UBLK_OP_WRITE_ZEROES:
		return REQUEST_WRITE_ZEROES;
	default:
		return REQUEST_UNKNOWN;
	}
}

static void describe(const void *from, struct request_desc *ret_desc)
{
	const struct ublk_desc *desc = from;

	*ret_desc = (struct request_desc){
		.op = op_of(desc),
		.fua = desc->op_flags & UBLK_IO_FUA,
		.may_unmap = !(desc->op_flags & UBLK_IO_NOUNMAP),
		.guest_off = desc->start_sector << SECTOR_SHIFT,
		.bytes = (uint64_t)desc->nr_sectors << SECTOR_SHIFT,
	};
}

/* With zero copy: the driver registers the buffer of each request that has data. */
static void describe_registered(const void *from, struct request_desc *ret_desc)
{
	const struct ublk_desc *desc = from;

	describe(desc, ret_desc);
	ret_desc->registered = !(desc->op_flags & UBLK_IO_NO_BUFFER);
}

/* ---- one tag ---- */

static void prep(struct io_uring_sqe *sqe, uint32_t op, const struct ublk_io_cmd *cmd)
{
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
}

static void prep_first(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, uint64_t addr)
{
	const struct ublk_io_cmd cmd = { .q_id = q_id, .tag = tag, .addr = addr };

	prep(sqe, UBLK_FETCH, &cmd);
}

static void prep_answer(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag, int32_t result,
			uint64_t addr)
{
	const struct ublk_io_cmd cmd = {
		.q_id = q_id,
		.tag = tag,
		.result = result,
		.addr = addr,
	};

	prep(sqe, UBLK_COMMIT_AND_FETCH, &cmd);
}

/* With zero copy, the index of the next request's buffer is beside the command. */
static void prep_first_registered(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag,
				  uint64_t index)
{
	prep_first(sqe, q_id, tag, 0);
	sqe->addr = index | UBLK_AUTO_FALLBACK;
}

static void prep_answer_registered(struct io_uring_sqe *sqe, uint16_t q_id, uint16_t tag,
				   int32_t result, uint64_t index)
{
	prep_answer(sqe, q_id, tag, result, 0);
	sqe->addr = index | UBLK_AUTO_FALLBACK;
}

/* ---- many tags ---- */

/* An entry is an element and an address; without the addresses, elements are moved together. */
_Static_assert(sizeof(struct fetch_entry) == sizeof(struct ublk_batch_elem) + sizeof(uint64_t) &&
		       offsetof(struct fetch_entry, tag) == offsetof(struct ublk_batch_elem, tag) &&
		       offsetof(struct fetch_entry, own) ==
			       offsetof(struct ublk_batch_elem, buf_index) &&
		       offsetof(struct fetch_entry, result) ==
			       offsetof(struct ublk_batch_elem, result) &&
		       offsetof(struct fetch_entry, addr) == sizeof(struct ublk_batch_elem),
	       "an entry is the driver's");

static void prep_batch(struct io_uring_sqe *sqe, uint32_t op, const struct ublk_batch *batch,
		       const struct fetch_entry *entries)
{
	sqe->cmd_op = op;
	sqe->addr = (uintptr_t)entries;
	memcpy(sqe->cmd, batch, sizeof(*batch));
}

static void prep_copied(struct io_uring_sqe *sqe, uint32_t op, uint16_t q_id,
			struct fetch_entry *entries, unsigned count)
{
	const struct ublk_batch batch = {
		.q_id = q_id,
		.flags = UBLK_BATCH_HAS_ADDR,
		.nr_elem = count,
		.elem_bytes = sizeof(struct fetch_entry),
	};

	prep_batch(sqe, op, &batch, entries);
}

static void prep_unaddressed(struct io_uring_sqe *sqe, uint32_t op, uint16_t q_id,
			     struct fetch_entry *entries, unsigned count, uint16_t flags)
{
	const struct ublk_batch batch = {
		.q_id = q_id,
		.flags = flags,
		.nr_elem = count,
		.elem_bytes = sizeof(struct ublk_batch_elem),
	};
	struct ublk_batch_elem *elems = (struct ublk_batch_elem *)entries;

	for (unsigned i = 0; i < count; i++) {
		const struct fetch_entry entry = entries[i];

		elems[i] = (struct ublk_batch_elem){
			.tag = entry.tag,
			.buf_index = entry.addr,
			.result = entry.result,
		};
	}
	prep_batch(sqe, op, &batch, entries);
}

static void prep_first_batch(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			     unsigned count)
{
	prep_copied(sqe, UBLK_PREP_BATCH, q_id, entries, count);
}

static void prep_answers(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			 unsigned count)
{
	prep_copied(sqe, UBLK_COMMIT_BATCH, q_id, entries, count);
}

static void prep_first_batch_user(struct io_uring_sqe *sqe, uint16_t q_id,
				  struct fetch_entry *entries, unsigned count)
{
	prep_unaddressed(sqe, UBLK_PREP_BATCH, q_id, entries, count, 0);
}

static void prep_answers_user(struct io_uring_sqe *sqe, uint16_t q_id, struct fetch_entry *entries,
			      unsigned count)
{
	prep_unaddressed(sqe, UBLK_COMMIT_BATCH, q_id, entries, count, 0);
}

static void prep_first_batch_registered(struct io_uring_sqe *sqe, uint16_t q_id,
					struct fetch_entry *entries, unsigned count)
{
	prep_unaddressed(sqe, UBLK_PREP_BATCH, q_id, entries, count, UBLK_BATCH_FALLBACK);
}

static void prep_answers_registered(struct io_uring_sqe *sqe, uint16_t q_id,
				    struct fetch_entry *entries, unsigned count)
{
	prep_unaddressed(sqe, UBLK_COMMIT_BATCH, q_id, entries, count, UBLK_BATCH_FALLBACK);
}

static void prep_announce(struct io_uring_sqe *sqe, uint16_t q_id)
{
	const struct ublk_batch batch = { .q_id = q_id, .elem_bytes = sizeof(uint16_t) };

	sqe->cmd_op = UBLK_FETCH_BATCH;
	memcpy(sqe->cmd, &batch, sizeof(batch));
}

/* ---- the queues ---- */

#define DESCRIPTORS                                                                                \
	.desc_bytes = sizeof(struct ublk_desc),                                                    \
	.desc_stride = UBLK_MAX_DEPTH * sizeof(struct ublk_desc), .res_ended = UBLK_RES_ABORT,     \
	.prep_announce = prep_announce

static const struct fetch_wire copy_wire = {
	DESCRIPTORS,
	.describe = describe,
	.prep_first = prep_first,
	.prep_answer = prep_answer,
	.prep_first_batch = prep_first_batch,
	.prep_answers = prep_answers,
	.answer_bytes = sizeof(struct fetch_entry),
};

static const struct fetch_wire user_copy_wire = {
	DESCRIPTORS,
	.describe = describe,
	.prep_first = prep_first,
	.prep_answer = prep_answer,
	.prep_first_batch = prep_first_batch_user,
	.prep_answers = prep_answers_user,
	.answer_bytes = sizeof(struct ublk_batch_elem),
};

static const struct fetch_wire zero_copy_wire = {
	DESCRIPTORS,
	.describe = describe_registered,
	.prep_first = prep_first_registered,
	.prep_answer = prep_answer_registered,
	.prep_first_batch = prep_first_batch_registered,
	.prep_answers = prep_answers_registered,
	.answer_bytes = sizeof(struct ublk_batch_elem),
};

static uint64_t data_off(uint16_t q_id, uint16_t tag)
{
	return UBLK_DATA_OFFSET + ((uint64_t)q_id << UBLK_QUEUE_SHIFT) +
	       ((uint64_t)tag << UBLK_TAG_SHIFT);
}

const struct transport_queues transport_queues_ublk = {
	.fetch = &fetch_by_tags,
	.fetch_batches = &fetch_by_batches,
	.ring_uses = RING_COMMANDS | RING_BUFFERS,
	.wires = {
		[DATA_COPY] = &copy_wire,
		[DATA_USER_COPY] = &user_copy_wire,
		[DATA_ZERO_COPY] = &zero_copy_wire,
	},
	.data_off = data_off,
	.result_lost = -EIO,
	.keeps_commands = true,
	.asks_with_privileges = true,
};
