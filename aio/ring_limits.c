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

#define SQE_FLAGS (IOSQE_CQE_SKIP_SUCCESS | IOSQE_BUFFER_SELECT)

int ring_limit(struct io_uring *ring)
{
	struct io_uring_restriction limits[G_N_ELEMENTS(operations) + 2];
	unsigned nr = 0;

	memset(limits, 0, sizeof(limits));
	for (; nr < G_N_ELEMENTS(operations); nr++) {
		limits[nr].opcode = IORING_RESTRICTION_SQE_OP;
		limits[nr].sqe_op = operations[nr];
	}
	limits[nr].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	limits[nr++].sqe_flags = SQE_FLAGS;
	/* For aio_loop_set_buffer(). */
	limits[nr].opcode = IORING_RESTRICTION_REGISTER_OP;
	limits[nr++].register_op = IORING_REGISTER_BUFFERS_UPDATE;
	/* liburing 2.3 declares a function for it, but does not export that. */
	return syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, limits,
		       nr) < 0
		       ? -errno
		       : 0;
}
