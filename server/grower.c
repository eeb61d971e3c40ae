// SPDX-License-Identifier: GPL-2.0-or-later
/* A thread that gets memory for others; see grower.h. */
#include "grower.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "colock.h"
#include "process.h"
#include "sandbox.h"

#define NS_PER_S UINT64_C(1000000000)
/* Before something for which there was no memory is tried again. */
#define RETRY_NS UINT64_C(100000000)

static struct thread_lock guard = THREAD_LOCK_INIT;
static pthread_cond_t changed; /* of what the thread looks at */
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static struct growing *all GLOBAL_GUARDED_BY(guard);
static uint64_t period_ns GLOBAL_GUARDED_BY(guard) = 10 * NS_PER_S;
static pthread_t thread;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct growing *find_asked(void) REQUIRES(guard)
{
	struct growing *growing = all;

	while (growing && !(growing->is_asked && growing->not_before_ns <= now_ns()))
		growing = growing->next;
	return growing;
}

static bool has_any_grown(void) REQUIRES(guard)
{
	const struct growing *growing = all;

	while (growing && !growing->has_grown)
		growing = growing->next;
	return growing;
}

/* When there is something to do, a look at @look_ns or a retry; UINT64_MAX: nothing. */
static uint64_t next_ns(uint64_t look_ns) REQUIRES(guard)
{
	uint64_t next_ns = has_any_grown() ? look_ns : UINT64_MAX;

	for (const struct growing *growing = all; growing; growing = growing->next)
		if (growing->is_asked && growing->not_before_ns < next_ns)
			next_ns = growing->not_before_ns;
	return next_ns;
}

static void grow(struct growing *growing) REQUIRES(guard)
{
	bool has_all;

	growing->is_asked = false;
	growing->is_busy = growing->has_grown = true;
	thread_unlock(&guard);
	has_all = growing->ops->grow(growing->arg);
	thread_lock(&guard);
	growing->is_busy = false;
	growing->is_asked |= !has_all;
	growing->not_before_ns = has_all ? 0 : now_ns() + RETRY_NS;
	pthread_cond_broadcast(&done);
}

static void shrink_idle(void) REQUIRES(guard)
{
	for (struct growing *growing = all; growing; growing = growing->next) {
		if (!growing->has_grown || !growing->ops->is_idle(growing->arg))
			continue;
		growing->has_grown = false;
		growing->ops->shrink(growing->arg);
	}
}

/* Until something changes, or until @end_ns. */
static void wait_until(uint64_t end_ns) REQUIRES(guard)
{
	struct timespec end = { end_ns / NS_PER_S, end_ns % NS_PER_S };

	if (end_ns != UINT64_MAX)
		pthread_cond_timedwait(&changed, &guard.mutex, &end);
	else
		pthread_cond_wait(&changed, &guard.mutex);
}

static void *grower_thread(void *is_sealed)
{
	struct growing *growing;
	uint64_t look_ns = 0;

	pthread_setname_np(pthread_self(), "ubd-grower");
	/* If these fail, they fail for the queues as well, and they report it. */
	process_drop_privileges();
	if (!is_sealed)
		sandbox_seal_thread();
	thread_lock(&guard);
	while (all) {
		growing = find_asked();
		if (growing) {
			if (!has_any_grown())
				look_ns = now_ns() + period_ns;
			grow(growing);
		} else if (has_any_grown() && now_ns() >= look_ns) {
			shrink_idle();
			look_ns = now_ns() + period_ns;
		} else {
			wait_until(next_ns(look_ns));
		}
	}
	thread_unlock(&guard);
	return NULL;
}

static int start_thread(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
	return -pthread_create(&thread, NULL, grower_thread,
			       GINT_TO_POINTER(sandbox_thread_is_sealed()));
}

int grower_add(struct growing *growing)
{
	bool is_first;
	int res = 0;

	thread_lock(&guard);
	is_first = !all;
	growing->next = all;
	growing->is_asked = growing->is_busy = growing->has_grown = false;
	growing->not_before_ns = 0;
	all = growing;
	if (is_first)
		res = start_thread();
	if (res < 0)
		all = NULL;
	thread_unlock(&guard);
	return res;
}

/* Whether it was the last one. */
static bool take_out(struct growing *growing) REQUIRES(guard)
{
	struct growing **at = &all;

	while (*at && *at != growing)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = growing->next;
	while (growing->is_busy)
		pthread_cond_wait(&done, &guard.mutex);
	return !all;
}

void grower_remove(struct growing *growing)
{
	bool ends;

	thread_lock(&guard);
	ends = take_out(growing);
	if (ends)
		pthread_cond_signal(&changed);
	thread_unlock(&guard);
	if (ends)
		pthread_join(thread, NULL);
}

void grower_ask(struct growing *growing)
{
	thread_lock(&guard);
	growing->is_asked = true;
	pthread_cond_signal(&changed);
	thread_unlock(&guard);
}

void grower_set_period_ns(unsigned long long ns)
{
	thread_lock(&guard);
	period_ns = ns;
	pthread_cond_signal(&changed);
	thread_unlock(&guard);
}
