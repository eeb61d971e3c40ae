// SPDX-License-Identifier: GPL-2.0-or-later
/* A coroutine that other threads can have run; see pulse.h. */
#include "pulse.h"

static void beat(struct pulse *pulse) REQUIRES(pulse->lock)
{
	pulse->woken = pulse->asked = false;
	if (!pulse->beat)
		return;
	thread_unlock(&pulse->lock);
	pulse->beat(pulse->arg);
	thread_lock(&pulse->lock);
}

void pulse_co(void *arg)
{
	struct pulse *pulse = arg;

	thread_lock(&pulse->lock);
	pulse->begun = true;
	while (!pulse->over) {
		beat(pulse);
		if (pulse->woken || pulse->over)
			continue;
		pulse->co = co_self();
		thread_unlock(&pulse->lock);
		co_yield();
		thread_lock(&pulse->lock);
	}
	thread_unlock(&pulse->lock);
}

/* The coroutine to wake, once: it sleeps again only after it has run. */
static struct coroutine *take(struct pulse *pulse) REQUIRES(pulse->lock)
{
	struct coroutine *co = pulse->co;

	pulse->co = NULL;
	pulse->woken = true;
	return co;
}

static void wake(struct coroutine *co)
{
	if (co)
		co_wake(co);
}

void pulse_wake(struct pulse *pulse)
{
	struct coroutine *co;

	thread_lock(&pulse->lock);
	co = take(pulse);
	thread_unlock(&pulse->lock);
	wake(co);
}

void pulse_end(struct pulse *pulse)
{
	struct coroutine *co;

	thread_lock(&pulse->lock);
	pulse->over = true;
	co = take(pulse);
	thread_unlock(&pulse->lock);
	wake(co);
}

bool pulse_is_alive(struct pulse *pulse)
{
	struct coroutine *co;
	bool answered;

	thread_lock(&pulse->lock);
	answered = !pulse->asked || pulse->over;
	pulse->asked = pulse->begun;
	co = take(pulse);
	thread_unlock(&pulse->lock);
	wake(co);
	return answered;
}
