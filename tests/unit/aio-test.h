/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of aio/ share: loops, crews of coroutines on several of them, child processes. */
#ifndef UBD_AIO_TEST_H
#define UBD_AIO_TEST_H

#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aio.h"
#include "annotations.h"
#include "test-engine.h"

static inline struct aio_loop *test_loop_new(void)
{
	g_autoptr(GError) err = NULL;
	struct aio_loop *loop = aio_loop_new_with(test_engine(), 64, &err);

	g_assert_no_error(err);
	g_assert_nonnull(loop);
	return loop;
}

/* Runs fn(arg) as a coroutine on its own loop. */
static inline void test_run(co_fn *fn, void *arg)
{
	struct aio_loop *loop = test_loop_new();

	aio_loop_run_co(loop, fn, arg);
	aio_loop_free(loop);
}

/* Coroutines on one loop, and the one that waits for all of them to end. */
struct test_crew {
	co_fn *fn;
	void *arg;
	unsigned members;
	unsigned left;
	struct coroutine *lead;
	GThread *thread;
};

static inline void test_crew_member(void *arg)
{
	struct test_crew *crew = arg;

	crew->fn(crew->arg);
	if (!--crew->left)
		co_wake(crew->lead);
}

/* Runs fn(arg) in @members coroutines of the calling coroutine's loop, and waits for them. */
static inline void test_co_crew(unsigned members, co_fn *fn, void *arg)
{
	struct test_crew crew = { .fn = fn, .arg = arg, .left = members, .lead = co_self() };

	for (unsigned i = 0; i < members; i++)
		co_start(test_crew_member, &crew);
	co_yield();
}

static inline void test_crew_main(void *arg)
{
	struct test_crew *crew = arg;

	test_co_crew(crew->members, crew->fn, crew->arg);
}

static inline void *test_crew_thread(void *arg)
{
	test_run(test_crew_main, arg);
	return NULL;
}

#define TEST_LOOPS_MAX 8

/* Runs fn(arg) in @members coroutines on each of @loops loops, each on its own thread. */
static inline void test_run_crews(unsigned loops, unsigned members, co_fn *fn, void *arg)
{
	struct test_crew crews[TEST_LOOPS_MAX];

	g_assert_cmpuint(loops, <=, TEST_LOOPS_MAX);
	for (unsigned i = 0; i < loops; i++) {
		crews[i] = (struct test_crew){ .fn = fn, .arg = arg, .members = members };
		crews[i].thread = g_thread_new("crew", test_crew_thread, &crews[i]);
	}
	for (unsigned i = 0; i < loops; i++)
		g_thread_join(crews[i].thread);
}

/* Runs fn in a child process and returns its wait status. */
static inline int test_run_in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (!pid) {
		fn();
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	return status;
}

/* Runs fn in a child process, where an assertion must fail. */
static inline void test_aborts(void (*fn)(void))
{
	int fd = dup(STDERR_FILENO), status;

	/* Hide the assertion's message. */
	g_assert_nonnull(freopen("/dev/null", "w", stderr));
	status = test_run_in_child(fn);
	fflush(stderr);
	dup2(fd, STDERR_FILENO);
	close(fd);
	g_assert_true(WIFSIGNALED(status));
	g_assert_cmpint(WTERMSIG(status), ==, SIGABRT);
}

static inline uint64_t test_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

#endif
