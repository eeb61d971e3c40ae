// SPDX-License-Identifier: GPL-2.0-or-later
/* Rings that keep rights; see kept_ring.h. */
#include "kept_ring.h"

#include <errno.h>
#include <glib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* liburing 2.3 declares functions for these, but does not export them. */
static int ring_register(struct io_uring *ring, unsigned op, void *arg, unsigned count)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, op, arg, count) < 0 ? -errno : 0;
}

static int restrict_ring(struct io_uring *ring, unsigned op)
{
	struct io_uring_restriction limits[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = op },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE },
	};

	int res = ring_register(ring, IORING_REGISTER_RESTRICTIONS, limits, G_N_ELEMENTS(limits));

	return res ?: ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* Restrictions are the last thing: after them nothing more can be registered. */
static int keep_rights(struct io_uring *ring, int fd, unsigned op)
{
	int res = io_uring_register_files(ring, &fd, 1), personality;

	if (res < 0)
		return res;
	personality = io_uring_register_personality(ring);
	if (personality < 0)
		return personality;
	res = restrict_ring(ring, op);
	return res < 0 ? res : personality;
}

int kept_ring_init(struct io_uring *ring, unsigned entries, unsigned flags, int fd, unsigned op)
{
	int res = io_uring_queue_init(entries, ring, flags | IORING_SETUP_R_DISABLED);

	if (res < 0)
		return res;
	res = keep_rights(ring, fd, op);
	if (res < 0)
		io_uring_queue_exit(ring);
	return res;
}
