/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that allocates memory for others.
 *
 * When memory is short, a thread that needs a page may have to wait until the disk that we serve
 * has written something. A queue therefore never waits for memory: it continues with the memory
 * that it has, asks the grower for more, and uses that once it is available. When a queue has been
 * idle for a while, it is asked to free that memory.
 *
 * The thread exists while something is added. All queues of the process share it, because they
 * would all wait for the same memory.
 */
#ifndef UBD_GROWER_H
#define UBD_GROWER_H

#include <stdbool.h>
#include <stdint.h>

struct growing_ops {
	/*
	 * Allocates the requested memory, however long that takes. False: there was not enough
	 * memory, so it is called again after a while. On the grower's thread.
	 */
	bool (*grow)(void *arg);
	/* Whether nothing has happened since the last call. Never waits. */
	bool (*is_idle)(void *arg);
	/* Has the memory freed, now or soon. Never waits. */
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
/* Waits until its grow() has returned. Does nothing if it was not added. Main thread. */
void grower_remove(struct growing *growing);

/* Asks for more memory. Any thread; never waits, and allocates nothing. */
void grower_ask(struct growing *growing);

/* For tests: how often to look whether something is idle. */
void grower_set_period_ns(unsigned long long ns);

#endif
