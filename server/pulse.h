/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A coroutine that other threads can have run: to do what they want of its loop, and to see whether
 * that still responds.
 */
#ifndef UBD_PULSE_H
#define UBD_PULSE_H

#include <stdbool.h>

#include "colock.h"

/* The caller sets the first two; all else is zeroed before it is used, and private to pulse.c. */
struct pulse {
	void (*beat)(void *arg); /* called after each pulse_wake(), and maybe more often; or NULL */
	void *arg;
	struct thread_lock lock;
	struct coroutine *co GUARDED_BY(lock); /* while it sleeps */
	bool begun GUARDED_BY(lock);
	bool woken GUARDED_BY(lock); /* and it has not run since */
	bool asked GUARDED_BY(lock); /* the same of pulse_is_alive() */
	bool over GUARDED_BY(lock);
};

/* @arg: a struct pulse. A coroutine of the loop, which runs until pulse_end(). */
void pulse_co(void *arg);
/* Nothing is called any more. Any thread, as long as the loop is there. */
void pulse_end(struct pulse *pulse);

/* Any thread, also before it has begun. */
void pulse_wake(struct pulse *pulse);

/*
 * Wakes the coroutine, and returns whether it has run since the last call, or is not there. One
 * other thread.
 */
bool pulse_is_alive(struct pulse *pulse);

#endif
