// SPDX-License-Identifier: GPL-2.0-or-later
/* See batches.h. */
#include "batches.h"

#include <string.h>
#include <sys/mman.h>

/* IORING_URING_CMD_MULTISHOT, which Debian 12 does not know. */
#define MULTISHOT (1u << 1)

static void prep_batch(struct io_uring_sqe *sqe, int cdev, uint32_t op,
		       const struct ubdsrv_io_cmd *cmd)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, cdev, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
}

void prep_fetch_batch(struct io_uring_sqe *sqe, int cdev, uint16_t q_id, uint16_t group)
{
	struct ubdsrv_io_cmd cmd = { .q_id = q_id };

	prep_batch(sqe, cdev, UBD_IO_FETCH_BATCH, &cmd);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->uring_cmd_flags = MULTISHOT;
	sqe->buf_group = group;
	sqe->user_data = FETCH_DATA;
}

void prep_commit_batch(struct io_uring_sqe *sqe, int cdev, uint16_t q_id,
		       const struct ubd_batch_entry *entries, unsigned int nr)
{
	struct ubdsrv_io_cmd cmd = { .q_id = q_id, .tag = nr, .addr = (uintptr_t)entries };

	prep_batch(sqe, cdev, UBD_IO_COMMIT_BATCH, &cmd);
	sqe->user_data = COMMIT_DATA(nr);
}

static uint16_t *batch_buffer(const struct batch *batch, unsigned int index)
{
	return batch->tags + (size_t)index * batch->tags_per_buffer;
}

void batch_provide(struct batch *batch, unsigned int index)
{
	io_uring_buf_ring_add(batch->provided, batch_buffer(batch, index),
			      batch->tags_per_buffer * sizeof(uint16_t), index,
			      io_uring_buf_ring_mask(batch->nr_buffers), 0);
	io_uring_buf_ring_advance(batch->provided, 1);
}

static void *pages(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

void batch_init_empty(struct batch *batch, struct io_uring *ring, int cdev, uint16_t q_id,
		      unsigned int nr_buffers, unsigned int tags_per_buffer)
{
	struct io_uring_buf_reg reg = { .ring_entries = nr_buffers, .bgid = q_id };

	*batch = (struct batch){
		.ring = ring,
		.cdev = cdev,
		.q_id = q_id,
		.nr_buffers = nr_buffers,
		.tags_per_buffer = tags_per_buffer,
		.provided = pages(nr_buffers * sizeof(struct io_uring_buf)),
		.tags = pages((size_t)nr_buffers * tags_per_buffer * sizeof(uint16_t)),
	};
	reg.ring_addr = (uintptr_t)batch->provided;
	CHECK_EQ(io_uring_register_buf_ring(ring, &reg, 0), 0);
	io_uring_buf_ring_init(batch->provided);
}

void batch_init(struct batch *batch, struct io_uring *ring, int cdev, uint16_t q_id,
		unsigned int nr_buffers, unsigned int tags_per_buffer)
{
	batch_init_empty(batch, ring, cdev, q_id, nr_buffers, tags_per_buffer);
	for (unsigned int i = 0; i < nr_buffers; i++)
		batch_provide(batch, i);
}

struct io_uring_sqe *batch_fetch(struct batch *batch)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(batch->ring);

	CHECK(sqe);
	prep_fetch_batch(sqe, batch->cdev, batch->q_id, batch->q_id);
	return sqe;
}

unsigned int batch_take(struct batch *batch, const struct io_uring_cqe *cqe, uint16_t *ret_tags)
{
	unsigned int index = cqe->flags >> IORING_CQE_BUFFER_SHIFT, nr = cqe->res / 2;

	CHECK(cqe->flags & IORING_CQE_F_BUFFER);
	CHECK(cqe->res > 0 && cqe->res % 2 == 0 && nr <= batch->tags_per_buffer);
	CHECK(index < batch->nr_buffers);
	memcpy(ret_tags, batch_buffer(batch, index), cqe->res);
	batch_provide(batch, index);
	return nr;
}
