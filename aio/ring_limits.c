// SPDX-License-Identifier: GPL-2.0-or-later
/* What the rings of loops can be used for; see ring_limits.h. */
#include "ring_limits.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Those of ops.c, and URING_CMD and NOP for whoever has a loop of their own. */
static const uint8_t operations[] = {
	IORING_OP_NOP,		IORING_OP_READV,	   IORING_OP_WRITEV,
	IORING_OP_READ,		IORING_OP_WRITE,	   IORING_OP_FSYNC,
	IORING_OP_READ_FIXED,	IORING_OP_WRITE_FIXED,	   IORING_OP_FALLOCATE,
	IORING_OP_POLL_ADD,	IORING_OP_SYNC_FILE_RANGE, IORING_OP_SENDMSG,
	IORING_OP_RECVMSG,	IORING_OP_ACCEPT,	   IORING_OP_CONNECT,
	IORING_OP_ASYNC_CANCEL, IORING_OP_URING_CMD,	   IORING_OP_POLL_REMOVE,
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

static int limit_to(struct io_uring *ring, unsigned nr_registrations)
{
	struct io_uring_restriction
		limits[G_N_ELEMENTS(operations) + 1 + G_N_ELEMENTS(registrations)];
	unsigned nr = 0;

	memset(limits, 0, sizeof(limits));
	for (; nr < G_N_ELEMENTS(operations); nr++) {
		limits[nr].opcode = IORING_RESTRICTION_SQE_OP;
		limits[nr].sqe_op = operations[nr];
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

int ring_limit(struct io_uring *ring)
{
	int res = limit_to(ring, G_N_ELEMENTS(registrations));

	return res == -EINVAL ? limit_to(ring, 1) : res;
}
