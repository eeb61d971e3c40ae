/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What servers that use batches (UBD_F_BATCH) do, for lib.c and for tests that serve by hand. */
#ifndef UBD_TESTS_VM_DRIVER_BATCHES_H
#define UBD_TESTS_VM_DRIVER_BATCHES_H

#include "lib.h"

/* user_data of a FETCH_BATCH, and of a COMMIT_BATCH with this many entries. */
#define FETCH_DATA	(1u << 20)
#define COMMIT_DATA(n)	(1u << 21 | (n))

/* Buffers of the server of lib.h; so few that it often runs out. */
#define NR_TAG_BUFFERS	4
#define TAGS_PER_BUFFER 3

/* A queue's FETCH_BATCH, and the buffers for its lists of tags. */
struct batch {
	struct io_uring *ring;
	int cdev;
	uint16_t q_id; /* also of the group of buffers */
	unsigned int nr_buffers, tags_per_buffer;
	struct io_uring_buf_ring *provided;
	uint16_t *tags;
};

/* nr_buffers is a power of two. Provides all of them, and fetches nothing. */
void batch_init(struct batch *batch, struct io_uring *ring, int cdev, uint16_t q_id,
		unsigned int nr_buffers, unsigned int tags_per_buffer);

/* The same without providing any; and one that the ring does not have. */
void batch_init_empty(struct batch *batch, struct io_uring *ring, int cdev, uint16_t q_id,
		      unsigned int nr_buffers, unsigned int tags_per_buffer);
void batch_provide(struct batch *batch, unsigned int index);

/* Prepares a FETCH_BATCH; the caller submits it. */
struct io_uring_sqe *batch_fetch(struct batch *batch);

/* The tags that a CQE of it lists; returns their number, and provides the buffer again. */
unsigned int batch_take(struct batch *batch, const struct io_uring_cqe *cqe, uint16_t *ret_tags);

/* Fill in SQEs. */
void prep_fetch_batch(struct io_uring_sqe *sqe, int cdev, uint16_t q_id, uint16_t group);
void prep_commit_batch(struct io_uring_sqe *sqe, int cdev, uint16_t q_id,
		       const struct ubd_batch_entry *entries, unsigned int nr);

#endif
