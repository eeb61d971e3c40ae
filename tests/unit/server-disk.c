// SPDX-License-Identifier: GPL-2.0-or-later
/* The top of a disk is replaced while loops use it. */
#include <stdatomic.h>

#include "aio-test.h"
#include "disk.h"

#define LOOPS	     4
#define CREW	     8
#define REPLACEMENTS 500

/* Stands in for an image: disk.c does not look into it. */
struct top {
	bool in_use; /* by the disk; neither locked nor atomic */
	unsigned number;
	int users; /* image_begin_use() */
	uint64_t patience_ns;
	bool throttle_taken;
};

static struct top tops[3];
static _Atomic unsigned nr_started, seen_changes;
static _Atomic bool replaced; /* for the last time */

void __wrap_image_set_patience(struct image *img, uint64_t ns);
void __wrap_image_begin_use(struct image *img);
void __wrap_image_end_use(struct image *img);
struct throttle_group *__wrap_image_take_throttle(struct image *img);
void __wrap_image_give_back_throttle(struct image *img);

void __wrap_image_set_patience(struct image *img, uint64_t ns)
{
	if (img)
		((struct top *)img)->patience_ns = ns;
}

void __wrap_image_begin_use(struct image *img)
{
	((struct top *)img)->users++;
}

void __wrap_image_end_use(struct image *img)
{
	((struct top *)img)->users--;
}

/* As one with limits: which they are does not matter here. */
struct throttle_group *__wrap_image_take_throttle(struct image *img)
{
	((struct top *)img)->throttle_taken = true;
	return (struct throttle_group *)img;
}

void __wrap_image_give_back_throttle(struct image *img)
{
	((struct top *)img)->throttle_taken = false;
}

static unsigned use_top_once(struct disk *disk, bool waits)
{
	struct top *top = (struct top *)disk_co_begin(disk);
	unsigned number = top->number;

	g_assert_true(top->in_use);
	/* Like a request that waits for its I/O. */
	if (waits)
		co_reschedule();
	g_assert_true(top->in_use);
	g_assert_cmpuint(top->number, ==, number);
	disk_co_end(disk);
	return number;
}

/* Runs from before the first replacement until after the last one, so that each user sees some. */
static void use_top(void *arg)
{
	struct disk *disk = arg;
	unsigned last = use_top_once(disk, false);

	nr_started++;
	for (unsigned i = 0;; i++) {
		bool is_last = replaced;
		unsigned number = use_top_once(disk, i % 4 == 0);

		g_assert_cmpuint(number, >=, last);
		seen_changes += number != last;
		last = number;
		if (is_last)
			break;
		if (i % 64 == 0)
			co_sleep_ns(20000);
	}
}

static void replace_top(void *arg)
{
	struct disk *disk = arg;

	while (nr_started < LOOPS * CREW)
		co_sleep_ns(10000);
	for (unsigned i = 1; i <= REPLACEMENTS; i++) {
		struct top *next = &tops[i % G_N_ELEMENTS(tops)], *old;

		next->in_use = true;
		next->number = i;
		old = (struct top *)disk_co_replace(disk, (struct image *)next);
		g_assert_true(disk_image(disk) == (struct image *)next);
		g_assert_true(old->in_use);
		g_assert_cmpuint(old->number, ==, i - 1);
		/* From here on it could be freed. */
		old->in_use = false;
		co_sleep_ns(10000);
	}
	replaced = true;
}

static void *replacing_thread(void *arg)
{
	test_run(replace_top, arg);
	return NULL;
}

static void test_top_is_replaced_under_load(void)
{
	struct disk *disk;
	GThread *thread;

	tops[0] = (struct top){ .in_use = true };
	disk = disk_new((struct image *)&tops[0]);
	thread = g_thread_new("replace", replacing_thread, disk);
	test_run_crews(LOOPS, CREW, use_top, disk);
	g_thread_join(thread);
	g_assert_cmpuint(seen_changes, >=, LOOPS * CREW);
	g_assert_cmpuint(((struct top *)disk_image(disk))->number, ==, REPLACEMENTS);
	disk_free(disk);
}

static void use_by_queues(void *arg)
{
	struct top one = { 0 }, two = { 0 };
	struct disk *disk = disk_new((struct image *)&one);

	disk_co_begin_use(disk);
	disk_co_begin_use(disk);
	g_assert_cmpint(one.users, ==, 1);
	disk_co_end_use(disk);
	g_assert_cmpint(one.users, ==, 1);
	g_assert_true(disk_co_replace(disk, (struct image *)&two) == (struct image *)&one);
	g_assert_cmpint(one.users, ==, 0);
	g_assert_cmpint(two.users, ==, 1);
	disk_co_end_use(disk);
	g_assert_cmpint(two.users, ==, 0);
	g_assert_true(disk_co_replace(disk, (struct image *)&one) == (struct image *)&two);
	g_assert_cmpint(one.users, ==, 0);
	disk_co_begin_use(disk);
	g_assert_true(disk_take_image(disk) == (struct image *)&one);
	g_assert_null(disk_take_image(disk));
	g_assert_cmpint(one.users, ==, 0);
	disk_free(disk);
}

/* The disk uses its top as long as one of the queues does. */
static void test_last_queue_ends_use(void)
{
	test_run(use_by_queues, NULL);
}

static void co_be_impatient(void *arg)
{
	struct top one = { 0 }, two = { 0 };
	struct disk *disk = disk_new(NULL);

	disk_set_image(disk, (struct image *)&one);
	g_assert_cmpuint(one.patience_ns, ==, IMAGE_PATIENT);
	disk_set_patience(disk, 5);
	g_assert_cmpuint(one.patience_ns, ==, 5);
	g_assert_true(disk_co_replace(disk, (struct image *)&two) == (struct image *)&one);
	g_assert_cmpuint(two.patience_ns, ==, 5);
	disk_free(disk);
	/* It ends before it has an image. */
	disk = disk_new(NULL);
	disk_set_patience(disk, 0);
	disk_set_image(disk, (struct image *)&one);
	g_assert_cmpuint(one.patience_ns, ==, 0);
	/* What is closed is not touched any more. */
	disk_take_image(disk);
	disk_set_patience(disk, 7);
	g_assert_cmpuint(one.patience_ns, ==, 0);
	disk_free(disk);
}

/* Each top has the patience of the disk. */
static void test_patience(void)
{
	test_run(co_be_impatient, NULL);
}

static void co_replace_limits(void *arg)
{
	struct top one = { 0 }, two = { 0 };
	struct disk *disk = disk_new(NULL);

	g_assert_null(disk_throttle(disk));
	disk_set_image(disk, (struct image *)&one);
	g_assert_true(disk_throttle(disk) == (struct throttle_group *)&one);
	g_assert_true(one.throttle_taken);
	disk_co_replace(disk, (struct image *)&two);
	g_assert_true(disk_throttle(disk) == (struct throttle_group *)&two);
	g_assert_true(two.throttle_taken);
	/* Requests of the new one may pass it. */
	g_assert_false(one.throttle_taken);
	disk_free(disk);
}

/* Requests wait for the limits of the top before they use it, and in no other node. */
static void test_limits(void)
{
	test_run(co_replace_limits, NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/disk/top-is-replaced-under-load", test_top_is_replaced_under_load);
	g_test_add_func("/disk/last-queue-ends-use", test_last_queue_ends_use);
	g_test_add_func("/disk/patience", test_patience);
	g_test_add_func("/disk/limits", test_limits);
	return g_test_run();
}
