// SPDX-License-Identifier: GPL-2.0-or-later
/* What rings can be used for; see ring_limits.h. */
#include "ring_limits.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio.h"

/* Those of ops.c and loop.c, and what owners of loops send by themselves. */
static const struct {
	uint8_t op;
	uint8_t use;
} operations[] = {
	{ IORING_OP_NOP, RING_FILES },		{ IORING_OP_READV, RING_FILES },
	{ IORING_OP_WRITEV, RING_FILES },	{ IORING_OP_READ, RING_FILES },
	{ IORING_OP_WRITE, RING_FILES },	{ IORING_OP_READ_FIXED, RING_FILES },
	{ IORING_OP_WRITE_FIXED, RING_FILES },	{ IORING_OP_FSYNC, RING_FILES },
	{ IORING_OP_FALLOCATE, RING_FILES },	{ IORING_OP_SYNC_FILE_RANGE, RING_FILES },
	{ IORING_OP_POLL_ADD, RING_FILES },	{ IORING_OP_POLL_REMOVE, RING_FILES },
	{ IORING_OP_ASYNC_CANCEL, RING_FILES }, { IORING_OP_SENDMSG, RING_MESSAGES },
	{ IORING_OP_RECVMSG, RING_MESSAGES },	{ IORING_OP_ACCEPT, RING_ACCEPTS },
	{ IORING_OP_CONNECT, RING_CONNECTS },	{ IORING_OP_URING_CMD, RING_COMMANDS },
};

/*
 * For aio_loop_set_buffer(), and then for buffer groups, which came with Linux 5.19: a kernel
 * refuses to list what it does not know.
 */
static const uint8_t registrations[] = {
	IORING_REGISTER_BUFFERS_UPDATE,
	IORING_REGISTER_PBUF_RING,
	IORING_UNREGISTER_PBUF_RING,
};

#define SQE_FLAGS (IOSQE_CQE_SKIP_SUCCESS | IOSQE_BUFFER_SELECT)

static int limit_to(struct io_uring *ring, unsigned uses, unsigned nr_registrations)
{
	struct io_uring_restriction
		limits[G_N_ELEMENTS(operations) + 1 + G_N_ELEMENTS(registrations)];
	unsigned nr = 0;

	memset(limits, 0, sizeof(limits));
	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
		if (!(operations[i].use & uses))
			continue;
		limits[nr].opcode = IORING_RESTRICTION_SQE_OP;
		limits[nr++].sqe_op = operations[i].op;
	}
	limits[nr].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	limits[nr++].sqe_flags = SQE_FLAGS;
	for (unsigned i = 0; i < nr_registrations; i++) {
		limits[nr].opcode = IORING_RESTRICTION_REGISTER_OP;
		limits[nr++].register_op = registrations[i];
	}
	/* liburing 2.3 declares a function for it, but does not export that. */
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, limits,
		       nr) < 0
		       ? -errno
		       : 0;
}

int ring_limit(struct io_uring *ring, unsigned uses)
{
	int res = limit_to(ring, uses, uses & RING_BUFFERS ? G_N_ELEMENTS(registrations) : 0);

	return res == -EINVAL && (uses & RING_BUFFERS) ? limit_to(ring, uses, 1) : res;
}

int ring_enable(struct io_uring *ring)
{
	/* Not io_uring_enable_rings(), which liburing 2.3 declares but does not export. */
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
		       0) < 0
		       ? -errno
		       : 0;
}
