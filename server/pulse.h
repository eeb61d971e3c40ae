/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a loop still responds: another thread wakes a coroutine of it, and looks if it has run.
 */
#ifndef UBD_PULSE_H
#define UBD_PULSE_H

#include <stdbool.h>

#include "colock.h"

/* Zeroed before it is used; private to pulse.c. */
struct pulse {
	struct thread_lock lock;
	struct coroutine *co GUARDED_BY(lock); /* NULL: it has not begun */
	bool woken GUARDED_BY(lock);	       /* it has not run since */
	bool over GUARDED_BY(lock);
};

/* @arg: a struct pulse. A coroutine of the loop, which runs until pulse_end(). */
void pulse_co(void *arg);
/* On the loop's thread. */
void pulse_end(struct pulse *pulse);

/*
 * Wakes the coroutine, and returns whether it has run since the last call, or is not there. One
 * other thread.
 */
bool pulse_is_alive(struct pulse *pulse);

#endif
