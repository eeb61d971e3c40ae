// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls on files whose file system hangs: how many there are, and that others go on. */
#include "bottom/file_calls.h"

#include <stdatomic.h>

#include "image-test.h"

#define FILES	 80
#define CALLS	 16 /* of each file: together more than there are workers */
#define HANGS_ON 1
#define WORKS_ON 2

static struct file_calls files[FILES];
static _Atomic unsigned at_work, ended;
static _Atomic bool goes_on;

static int hang(void *arg)
{
	atomic_fetch_add(&at_work, 1);
	while (!atomic_load(&goes_on))
		g_usleep(1000);
	return 0;
}

static int count(void *arg)
{
	atomic_fetch_add((_Atomic unsigned *)arg, 1);
	return 42;
}

static void hang_co(void *arg)
{
	g_assert_cmpint(file_calls_co_run(arg, hang, NULL), ==, 0);
	ended++;
}

static void begin(void)
{
	for (unsigned i = 0; i < FILES; i++)
		file_calls_init(&files[i], HANGS_ON);
	at_work = ended = 0;
	goes_on = false;
}

static void co_wait_for_work(unsigned wanted)
{
	while (atomic_load(&at_work) < wanted)
		co_sleep_ns(1000000);
	/* Nor are there more. */
	co_sleep_ns(50000000);
	g_assert_cmpuint(atomic_load(&at_work), ==, wanted);
}

static void co_end(struct co_group *group, unsigned wanted)
{
	goes_on = true;
	co_group_wait(group);
	g_assert_cmpuint(ended, ==, wanted);
	for (unsigned i = 0; i < FILES; i++)
		file_calls_destroy(&files[i]);
	aio_workers_end();
}

/* However many of its files wait for it. */
CO_TEST(test_others_go_on)
{
	struct co_group group = { 0 };
	struct file_calls other;
	unsigned counted = 0;

	begin();
	file_calls_init(&other, WORKS_ON);
	for (unsigned i = 0; i < FILES * CALLS; i++)
		co_group_start(&group, hang_co, &files[i / CALLS]);
	co_wait_for_work(128);
	g_assert_cmpint(file_calls_co_run(&other, count, &counted), ==, 42);
	g_assert_cmpuint(counted, ==, 1);
	file_calls_destroy(&other);
	co_end(&group, FILES * CALLS);
}

/* A file leaves calls to others of its file system. */
CO_TEST(test_other_files_go_on)
{
	struct co_group group = { 0 };
	unsigned counted = 0;

	begin();
	for (unsigned i = 0; i < 200; i++)
		co_group_start(&group, hang_co, &files[0]);
	co_wait_for_work(CALLS);
	g_assert_cmpint(file_calls_co_run(&files[1], count, &counted), ==, 42);
	g_assert_cmpuint(counted, ==, 1);
	co_end(&group, 200);
}

#define ROUNDS 1000u

/* Makes call after call. */
static void busy_co(void *arg)
{
	unsigned counted = 0;

	while (counted < ROUNDS && !ended)
		file_calls_co_run(arg, count, &counted);
	g_assert_cmpuint(counted, <, ROUNDS);
}

/* No call waits for more than those before it. */
CO_TEST(test_calls_take_turns)
{
	struct co_group group = { 0 };
	unsigned counted = 0;

	begin();
	for (unsigned i = 0; i < CALLS; i++)
		co_group_start(&group, busy_co, &files[0]);
	co_reschedule();
	g_assert_cmpint(file_calls_co_run(&files[0], count, &counted), ==, 42);
	ended++;
	co_end(&group, 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/file-calls/others-go-on", test_others_go_on);
	g_test_add_func("/file-calls/other-files-go-on", test_other_files_go_on);
	g_test_add_func("/file-calls/calls-take-turns", test_calls_take_turns);
	return g_test_run();
}
