// SPDX-License-Identifier: GPL-2.0-or-later
/* Ends a test that hangs; see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct {
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t stop_cond;
	bool stop; /* lock */
	const char *name;
	unsigned seconds;
	void (*dump)(void *arg);
	void *arg;
} dog = { .lock = PTHREAD_MUTEX_INITIALIZER, .stop_cond = PTHREAD_COND_INITIALIZER };

static _Atomic unsigned kicks;

static void bite(void)
{
	if (dog.name)
		printf("not ok %s: ", dog.name);
	printf("no progress for %u seconds\n", dog.seconds);
	fflush(stdout);
	if (dog.dump)
		dog.dump(dog.arg);
	fflush(NULL);
	abort();
}

/* Whether it must stop; otherwise the period has passed. */
static bool wait_one_period(void)
{
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += dog.seconds;
	while (!dog.stop && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&dog.stop_cond, &dog.lock, &until);
	return dog.stop;
}

/* Looks once per period, so that a hang is found after one to two of them. */
static void *watch(void *unused)
{
	unsigned seen = atomic_load(&kicks);

	pthread_mutex_lock(&dog.lock);
	while (!wait_one_period()) {
		if (atomic_load(&kicks) == seen)
			bite();
		seen = atomic_load(&kicks);
	}
	pthread_mutex_unlock(&dog.lock);
	return NULL;
}

void watchdog_start(const char *name, unsigned seconds, void (*dump)(void *arg), void *arg)
{
	watchdog_stop();
	dog.name = name;
	dog.seconds = seconds;
	dog.dump = dump;
	dog.arg = arg;
	dog.stop = false;
	dog.running = pthread_create(&dog.thread, NULL, watch, NULL) == 0;
}

void watchdog_kick(void)
{
	atomic_fetch_add_explicit(&kicks, 1, memory_order_relaxed);
}

void watchdog_stop(void)
{
	if (!dog.running)
		return;
	pthread_mutex_lock(&dog.lock);
	dog.stop = true;
	pthread_cond_signal(&dog.stop_cond);
	pthread_mutex_unlock(&dog.lock);
	pthread_join(dog.thread, NULL);
	dog.running = false;
}
