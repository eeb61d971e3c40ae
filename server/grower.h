/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that gets memory for others.
 *
 * When memory is short, whoever needs a page waits for it, perhaps until the disk that we serve has
 * written something. So a queue does not wait: it goes on with what it has, asks here for more, and
 * uses that once it is there. What a queue has got, it is asked to give back when it has been idle
 * for a while.
 *
 * The thread exists while something has been added. One for all queues of the process: what one of
 * them waits for, all of them would.
 */
#ifndef UBD_GROWER_H
#define UBD_GROWER_H

#include <stdbool.h>
#include <stdint.h>

struct growing_ops {
	/*
	 * Gets what was asked for, as long as that takes. False: there is no memory for all of it,
	 * so it is called again after a while. On the grower's thread.
	 */
	bool (*grow)(void *arg);
	/* Whether nothing has happened since the last call. Never waits. */
	bool (*is_idle)(void *arg);
	/* Has what was got given back, now or soon. Never waits. */
	void (*shrink)(void *arg);
};

/* Private to grower.c, except that the caller sets the first two. */
struct growing {
	const struct growing_ops *ops;
	void *arg;
	struct growing *next;
	bool is_asked, is_busy, has_grown;
	uint64_t not_before_ns; /* it found no memory */
};

/* 0 or -errno: the thread cannot be created. Main thread. */
int grower_add(struct growing *growing);
/* Waits until its grow() has returned. Nothing if it was not added. Main thread. */
void grower_remove(struct growing *growing);

/* Asks for more. Any thread; never waits, and allocates nothing. */
void grower_ask(struct growing *growing);

/* For tests: how often to look whether something is idle. */
void grower_set_period_ns(unsigned long long ns);

#endif
