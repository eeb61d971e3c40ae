/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several loops, each on its own thread, for work that one CPU would slow down. */
#ifndef UBD_LOOPS_H
#define UBD_LOOPS_H

#include "aio.h"

struct loops {
	unsigned nr;
	struct loop_thread *threads;
};

/*
 * The loop that is running, and @nr - 1 new ones. NULL after an error message. Coroutines are
 * started on them with co_start_on().
 */
struct loops *loops_new(unsigned nr);
struct aio_loop *loops_at(const struct loops *loops, unsigned number);
/* Their coroutines must have ended. NULL is fine. */
void loops_free(struct loops *loops);

#endif
