// SPDX-License-Identifier: GPL-2.0-or-later
/* Control commands on a small ring; see command_ring.h. */
#include "command_ring.h"

#include <errno.h>
#include <glib.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "ring_limits.h"

#define RING_ENTRIES 4

struct answer {
	int res;
	bool has_come;
};

/* 0 or -errno. After an error the kernel has not seen the command. */
static int send_command(struct command_ring *cr, struct answer *answer, int fd, uint32_t op,
			const void *cmd, size_t cmd_bytes) REQUIRES(cr->lock)
{
	struct io_uring_sqe *sqe = cr->unsent ?: io_uring_get_sqe(&cr->ring);
	int res;

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	io_uring_sqe_set_data(sqe, answer);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, cmd_bytes);
	do {
		res = io_uring_submit(&cr->ring);
	} while (res == -EINTR && io_uring_sq_ready(&cr->ring));
	cr->unsent = io_uring_sq_ready(&cr->ring) ? sqe : NULL;
	return cr->unsent ? MIN(res, -EAGAIN) : 0;
}

static void take_answers(struct command_ring *cr) REQUIRES(cr->lock)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&cr->ring, &cqe) == 0) {
		struct answer *answer = io_uring_cqe_get_data(cqe);

		answer->res = cqe->res;
		answer->has_come = true;
		io_uring_cqe_seen(&cr->ring, cqe);
	}
}

/* Milliseconds for poll(); -1: no limit. */
static int time_left(gint64 end_us)
{
	gint64 left = end_us - g_get_monotonic_time();

	return end_us == G_MAXINT64 ? -1 : CLAMP(left / 1000, 0, INT_MAX - 1);
}

/* Waits until there is an answer to anything. 0 or -ETIMEDOUT. */
static int wait_for_any(struct command_ring *cr, gint64 end_us)
{
	struct pollfd answered = { .fd = cr->ring.ring_fd, .events = POLLIN };
	struct io_uring_cqe *cqe;

	/* If the ring cannot wait, poll() can; and it has a limit. */
	while ((end_us != G_MAXINT64 ? io_uring_peek_cqe(&cr->ring, &cqe)
				     : io_uring_wait_cqe(&cr->ring, &cqe)) < 0)
		if (poll(&answered, 1, time_left(end_us)) == 0)
			return -ETIMEDOUT;
	return 0;
}

/* For all threads that wait. Drops the lock meanwhile. 0 or -ETIMEDOUT. */
static int watch(struct command_ring *cr, gint64 end_us) REQUIRES(cr->lock)
{
	int res;

	cr->is_watched = true;
	thread_unlock(&cr->lock);
	res = wait_for_any(cr, end_us);
	thread_lock(&cr->lock);
	cr->is_watched = false;
	take_answers(cr);
	pthread_cond_broadcast(&cr->news);
	return res;
}

static int wait_for_answer(struct command_ring *cr, const struct answer *answer, unsigned limit_s)
	REQUIRES(cr->lock)
{
	gint64 end_us = limit_s == COMMAND_NO_LIMIT
				? G_MAXINT64
				: g_get_monotonic_time() + (gint64)limit_s * G_USEC_PER_SEC;

	while (!answer->has_come) {
		if (cr->is_watched) {
			pthread_cond_wait(&cr->news, &cr->lock.mutex);
		} else if (watch(cr, end_us) < 0 && !answer->has_come) {
			cr->stuck = true;
			return -ETIMEDOUT;
		}
	}
	return answer->res;
}

int command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
		     size_t cmd_bytes, unsigned limit_s)
{
	struct answer answer = { 0 };
	int res;

	if (cr->stuck)
		return -ETIMEDOUT;
	thread_lock(&cr->lock);
	res = send_command(cr, &answer, fd, op, cmd, cmd_bytes);
	res = res ?: wait_for_answer(cr, &answer, limit_s);
	thread_unlock(&cr->lock);
	return res;
}

bool command_ring_is_stuck(struct command_ring *cr)
{
	struct io_uring_cqe *cqe;

	return cr->stuck && io_uring_peek_cqe(&cr->ring, &cqe) < 0;
}

static int limit_and_enable(struct io_uring *ring)
{
	int res = ring_limit(ring, RING_COMMANDS);

	return res ?: ring_enable(ring);
}

int command_ring_init(struct command_ring *cr, unsigned flags)
{
	int res;

	*cr = (struct command_ring){ 0 };
	res = io_uring_queue_init(RING_ENTRIES, &cr->ring, flags | IORING_SETUP_R_DISABLED);
	if (res < 0)
		return res;
	thread_lock_init(&cr->lock);
	pthread_cond_init(&cr->news, NULL);
	res = limit_and_enable(&cr->ring);
	if (res < 0)
		command_ring_exit(cr);
	return res;
}

void command_ring_exit(struct command_ring *cr)
{
	io_uring_queue_exit(&cr->ring);
	pthread_cond_destroy(&cr->news);
	thread_lock_destroy(&cr->lock);
}
