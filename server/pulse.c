// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether a loop still responds; see pulse.h. */
#include "pulse.h"

void pulse_co(void *arg)
{
	struct pulse *pulse = arg;

	thread_lock(&pulse->lock);
	while (!pulse->over) {
		pulse->co = co_self();
		pulse->woken = false;
		thread_unlock(&pulse->lock);
		co_yield();
		thread_lock(&pulse->lock);
	}
	pulse->co = NULL;
	pulse->woken = false;
	thread_unlock(&pulse->lock);
}

/* Returns whether it was woken before and has not run since; it waits for one wake-up at a time. */
static bool wake(struct pulse *pulse, bool is_over)
{
	struct coroutine *co = NULL;
	bool was_woken;

	thread_lock(&pulse->lock);
	was_woken = pulse->woken;
	if (!was_woken)
		co = pulse->co;
	pulse->woken |= co != NULL;
	pulse->over |= is_over;
	thread_unlock(&pulse->lock);
	if (co)
		co_wake(co);
	return was_woken;
}

void pulse_end(struct pulse *pulse)
{
	wake(pulse, true);
}

bool pulse_is_alive(struct pulse *pulse)
{
	return !wake(pulse, false);
}
