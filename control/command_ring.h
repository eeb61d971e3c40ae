/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Passthrough commands of io_uring to a driver's control node, each waiting for its answer. Any
 * number of threads may use a ring at once, unless their commands have a limit: then one at a time.
 * A ring does nothing but such commands.
 *
 * A command names memory of the caller, to which the kernel writes until the command is answered.
 * So either the command is taken back before the kernel has seen it, or this file waits for the
 * answer, whatever io_uring_enter() returns meanwhile. No command is ever left for the next one.
 */
#ifndef UBD_COMMAND_RING_H
#define UBD_COMMAND_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "colock.h"

#define COMMAND_NO_LIMIT 0

struct command_ring {
	struct io_uring ring; /* entries are filled, and answers taken, with the lock */
	struct thread_lock lock;
	/* An entry of the ring that the kernel has not taken; the next command reuses it. Or NULL.
	 */
	struct io_uring_sqe *unsent GUARDED_BY(lock);
	bool is_watched GUARDED_BY(lock); /* a thread waits for the answers of all */
	pthread_cond_t news;		  /* the watching thread has stopped */
	bool stuck;			  /* a command was not answered in time */
};

/* @flags: IORING_SETUP_*. 0 or -errno. */
int command_ring_init(struct command_ring *cr, unsigned flags);
void command_ring_exit(struct command_ring *cr);

/*
 * The answer, or -errno. After -ETIMEDOUT, when @limit_s seconds have passed, the ring is stuck:
 * the kernel may still write to the command's memory, so the caller must not free that, and all
 * other commands of the ring fail.
 */
int command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
		     size_t cmd_bytes, unsigned limit_s);

/* Whether a command is still without an answer; it may come late. */
bool command_ring_is_stuck(struct command_ring *cr);

#endif
