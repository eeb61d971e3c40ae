// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the pieces of aio/ cost, in nanoseconds. Prints one line per figure.
 *
 * Usage: aio-bench
 */
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "aio.h"
#include "colock.h"

#define LOOPS 2

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void report(const char *what, uint64_t begin, uint64_t count)
{
	printf("%-62s %9.1f ns\n", what, (double)(now_ns() - begin) / count);
}

/* Does some work that takes about @rounds nanoseconds. */
static void burn(unsigned rounds)
{
	for (volatile unsigned i = 0; i < rounds; i++)
		;
}

static struct aio_loop *new_loop(void)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new(256, &err);

	if (!loop) {
		fprintf(stderr, "aio-bench: %s\n", err->message);
		exit(1);
	}
	return loop;
}

static void run(co_fn *fn)
{
	struct aio_loop *loop = new_loop();

	aio_loop_run_co(loop, fn, NULL);
	aio_loop_free(loop);
}

/* ---- one loop ---- */

static unsigned live;
static struct coroutine *parent;

static void yield_once(void *arg)
{
	struct coroutine **self = arg;

	*self = co_self();
	co_yield();
	if (!--live)
		co_wake(parent);
}

/* Starts @width coroutines, lets each yield, wakes them, and waits until they have ended. */
static void start_and_wake(unsigned width, unsigned rounds)
{
	g_autofree struct coroutine **children = g_new0(struct coroutine *, width);

	parent = co_self();
	for (unsigned round = 0; round < rounds; round++) {
		live = width;
		for (unsigned i = 0; i < width; i++)
			co_start(yield_once, &children[i]);
		co_reschedule();
		for (unsigned i = 0; i < width; i++)
			co_wake(children[i]);
		co_yield();
	}
}

static void bench_switch(void *unused)
{
	static const unsigned widths[] = { 1, 32, 250 };
	uint64_t begin;

	begin = now_ns();
	for (unsigned i = 0; i < 5000000; i++)
		co_reschedule();
	report("wake itself, yield, resume", begin, 5000000);
	for (unsigned i = 0; i < G_N_ELEMENTS(widths); i++) {
		unsigned rounds = 4000000 / widths[i];
		g_autofree char *what =
			g_strdup_printf("start, yield, wake, resume, end; %u at a time", widths[i]);

		start_and_wake(widths[i], 1000 / widths[i] + 1);
		begin = now_ns();
		start_and_wake(widths[i], rounds);
		report(what, begin, (uint64_t)rounds * widths[i]);
	}
}

static unsigned polls_left;

static void poll_many(void *unused)
{
	static int fd = -1;

	if (fd < 0)
		fd = g_open("/dev/null", O_RDWR | O_CLOEXEC, 0);
	while (polls_left) {
		polls_left--;
		co_poll(fd, POLLIN, NULL);
	}
	if (!--live)
		co_wake(parent);
}

static void bench_ops(void *unused)
{
	static const unsigned widths[] = { 1, 32 };

	parent = co_self();
	for (unsigned i = 0; i < G_N_ELEMENTS(widths); i++) {
		g_autofree char *what =
			g_strdup_printf("an operation on the ring, %u at a time", widths[i]);
		uint64_t begin = now_ns();

		polls_left = 1000000;
		live = widths[i];
		for (unsigned n = 0; n < widths[i]; n++)
			co_start(poll_many, NULL);
		co_yield();
		report(what, begin, 1000000);
	}
}

static struct co_mutex mutex;
static struct co_rwlock rwlock;

static void bench_locks(void *unused)
{
	const unsigned rounds = 5000000;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < rounds; i++) {
		co_mutex_lock(&mutex);
		co_mutex_unlock(&mutex);
	}
	report("co_mutex, lock and unlock, free", begin, rounds);
	begin = now_ns();
	for (unsigned i = 0; i < rounds; i++) {
		co_rwlock_rdlock(&rwlock);
		co_rwlock_rdunlock(&rwlock);
	}
	report("co_rwlock, rdlock and rdunlock, no writer", begin, rounds);
	begin = now_ns();
	for (unsigned i = 0; i < rounds / 10; i++) {
		co_rwlock_wrlock(&rwlock);
		co_rwlock_wrunlock(&rwlock);
	}
	report("co_rwlock, wrlock and wrunlock, no reader", begin, rounds / 10);
}

static int do_nothing(void *unused)
{
	return 0;
}

static void bench_worker(void *unused)
{
	const unsigned rounds = 100000;
	uint64_t begin;

	co_run_on_worker(do_nothing, NULL);
	begin = now_ns();
	for (unsigned i = 0; i < rounds; i++)
		co_run_on_worker(do_nothing, NULL);
	report("a job on a worker, and back", begin, rounds);
}

/* ---- two loops ---- */

/* Coroutines on two loops; each loop's thread ends when all of its coroutines have. */
struct crew {
	co_fn *fn;
	unsigned per_loop;
	unsigned loop;
	unsigned left;
	struct coroutine *parent;
};

static void crew_member(void *arg)
{
	struct crew *crew = arg;

	crew->fn(GUINT_TO_POINTER(crew->loop));
	if (!--crew->left)
		co_wake(crew->parent);
}

static void crew_lead(void *arg)
{
	struct crew *crew = arg;

	crew->parent = co_self();
	crew->left = crew->per_loop;
	for (unsigned i = 0; i < crew->per_loop; i++)
		co_start(crew_member, crew);
	co_yield();
}

static void *crew_thread(void *arg)
{
	struct aio_loop *loop = new_loop();

	aio_loop_run_co(loop, crew_lead, arg);
	aio_loop_free(loop);
	return NULL;
}

static void run_crews(co_fn *fn, unsigned loops, unsigned per_loop)
{
	struct crew crews[LOOPS];
	GThread *threads[LOOPS];

	for (unsigned i = 0; i < loops; i++) {
		crews[i] = (struct crew){ .fn = fn, .per_loop = per_loop, .loop = i };
		threads[i] = g_thread_new("crew", crew_thread, &crews[i]);
	}
	for (unsigned i = 0; i < loops; i++)
		g_thread_join(threads[i]);
}

#define PINGS 200000

static struct thread_lock table = THREAD_LOCK_INIT;
static struct co_queue players;
static unsigned turn;
static unsigned pings;

static void ping_pong(void *arg)
{
	unsigned me = GPOINTER_TO_UINT(arg);

	thread_lock(&table);
	while (pings < PINGS) {
		if (turn != me) {
			co_queue_wait_thread(&players, &table);
			continue;
		}
		pings++;
		turn = !me;
		co_queue_wake_all(&players);
	}
	thread_unlock(&table);
}

static unsigned work_inside, work_outside, work_rounds;

static void work_with_mutex(void *unused)
{
	for (unsigned i = 0; i < work_rounds; i++) {
		co_mutex_lock(&mutex);
		burn(work_inside);
		co_mutex_unlock(&mutex);
		burn(work_outside);
		if (i % 16 == 0)
			co_reschedule();
	}
}

static void work_with_rwlock(void *unused)
{
	for (unsigned i = 0; i < work_rounds; i++) {
		co_rwlock_rdlock(&rwlock);
		co_rwlock_rdunlock(&rwlock);
	}
}

static void bench_crews(co_fn *fn, const char *name, unsigned per_loop, unsigned rounds)
{
	for (unsigned loops = 1; loops <= LOOPS; loops++) {
		g_autofree char *what =
			g_strdup_printf("%s; %u loops of %u", name, loops, per_loop);
		uint64_t begin = now_ns();

		work_rounds = rounds;
		run_crews(fn, loops, per_loop);
		report(what, begin, (uint64_t)rounds * loops * per_loop);
	}
}

static void bench_contention(void)
{
	static const struct {
		unsigned inside, outside;
	} works[] = { { 100, 0 }, { 100, 1000 }, { 1000, 1000 } };

	for (unsigned i = 0; i < G_N_ELEMENTS(works); i++) {
		g_autofree char *name = g_strdup_printf("co_mutex, %u inside, %u outside",
							works[i].inside, works[i].outside);

		work_inside = works[i].inside;
		work_outside = works[i].outside;
		bench_crews(work_with_mutex, name, 1, 100000);
		bench_crews(work_with_mutex, name, 16, 10000);
	}
	bench_crews(work_with_rwlock, "co_rwlock, read", 1, 5000000);
}

int main(void)
{
	uint64_t begin;

	co_mutex_init(&mutex);
	co_rwlock_init(&rwlock);
	run(bench_switch);
	run(bench_ops);
	run(bench_locks);
	run(bench_worker);
	begin = now_ns();
	run_crews(ping_pong, LOOPS, 1);
	report("a wake of another loop, one way", begin, PINGS);
	bench_contention();
	return 0;
}
