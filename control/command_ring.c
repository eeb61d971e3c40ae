// SPDX-License-Identifier: GPL-2.0-or-later
/* Control commands on a small ring; see command_ring.h. */
#include "command_ring.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define RING_ENTRIES 4

/* 0 or -errno. After an error the kernel has not seen the command. */
static int send_command(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
			size_t cmd_bytes)
{
	struct io_uring_sqe *sqe = cr->unsent ?: io_uring_get_sqe(&cr->ring);
	int res;

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, cmd_bytes);
	do {
		res = io_uring_submit(&cr->ring);
	} while (res == -EINTR && io_uring_sq_ready(&cr->ring));
	cr->unsent = io_uring_sq_ready(&cr->ring) ? sqe : NULL;
	return cr->unsent ? MIN(res, -EAGAIN) : 0;
}

/* Milliseconds for poll(); -1: no limit. */
static int time_left(gint64 end_us)
{
	gint64 left = end_us - g_get_monotonic_time();

	return end_us == G_MAXINT64 ? -1 : CLAMP(left / 1000, 0, INT_MAX - 1);
}

static int wait_for_answer(struct command_ring *cr, unsigned limit_s)
{
	gint64 end_us = limit_s == COMMAND_NO_LIMIT
				? G_MAXINT64
				: g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;
	struct pollfd answered = { .fd = cr->ring.ring_fd, .events = POLLIN };
	struct io_uring_cqe *cqe;
	int res;

	/* If the ring cannot wait, poll() can; and it has a limit. */
	while ((limit_s != COMMAND_NO_LIMIT ? io_uring_peek_cqe(&cr->ring, &cqe)
					    : io_uring_wait_cqe(&cr->ring, &cqe)) < 0)
		if (poll(&answered, 1, time_left(end_us)) == 0) {
			cr->stuck = true;
			return -ETIMEDOUT;
		}
	res = cqe->res;
	io_uring_cqe_seen(&cr->ring, cqe);
	return res;
}

int command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
		     size_t cmd_bytes, unsigned limit_s)
{
	int res = cr->stuck ? -ETIMEDOUT : send_command(cr, fd, op, cmd, cmd_bytes);

	return res ?: wait_for_answer(cr, limit_s);
}

bool command_ring_is_stuck(struct command_ring *cr)
{
	struct io_uring_cqe *cqe;

	return cr->stuck && io_uring_peek_cqe(&cr->ring, &cqe) < 0;
}

/*
 * Linux 7.2 ends a thread's io_uring worker together with the thread's last ring, and a command
 * that comes at that moment may wait for a worker for ever. So a thread that has had a ring always
 * keeps one.
 */
static void keep_worker(void)
{
	static __thread struct io_uring ring;
	static __thread pid_t owner; /* not a parent process, whose rings are not ours */

	if (owner != gettid() && !io_uring_queue_init(1, &ring, 0))
		owner = gettid();
}

int command_ring_init(struct command_ring *cr, unsigned flags)
{
	*cr = (struct command_ring){ 0 };
	keep_worker();
	return io_uring_queue_init(RING_ENTRIES, &cr->ring, flags);
}

void command_ring_exit(struct command_ring *cr)
{
	io_uring_queue_exit(&cr->ring);
}
