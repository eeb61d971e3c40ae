// SPDX-License-Identifier: GPL-2.0-or-later
/* Locks of coroutines, one promise of colock.h each. */
#include <glib.h>
#include <string.h>

#include "aio-test.h"
#include "colock.h"

/* Zeroed memory is an unlocked lock. */
static struct co_mutex mutex;
static struct co_rwlock rwlock;
static struct co_queue queue;
static struct thread_lock lock = THREAD_LOCK_INIT;

/* What happened, one letter per event. */
static GString *story;

static void run_story(co_fn *fn, const char *expected)
{
	story = g_string_new(NULL);
	test_run(fn, NULL);
	g_assert_cmpstr(story->str, ==, expected);
	g_string_free(story, TRUE);
}

static void tell(const char *what)
{
	g_string_append(story, what);
}

#define LOOPS 2

#ifdef UBD_TSAN
#define ROUNDS 100
#else
#define ROUNDS 1000
#endif

/* ---- co_mutex ---- */

static unsigned inside;
static unsigned long total;

static void enter_and_leave(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		co_mutex_lock(&mutex);
		g_assert_cmpuint(inside++, ==, 0);
		if (i % 4 == 0)
			co_reschedule();
		total++;
		g_assert_cmpuint(--inside, ==, 0);
		co_mutex_unlock(&mutex);
		if (i % 3 == 0)
			co_reschedule();
	}
}

static void test_mutex_excludes(void)
{
	total = 0;
	test_run_crews(1, 20, enter_and_leave, NULL);
	g_assert_cmpuint(total, ==, 20 * ROUNDS);
}

static void test_mutex_excludes_across_loops(void)
{
	total = 0;
	test_run_crews(LOOPS, 20, enter_and_leave, NULL);
	g_assert_cmpuint(total, ==, LOOPS * 20 * ROUNDS);
}

static void try_in_vain(void *arg) NO_THREAD_SAFETY_ANALYSIS
{
	g_assert_false(co_mutex_is_mine(&mutex));
	g_assert_false(try_co_mutex_lock(&mutex));
	tell("b");
}

/* The analysis cannot see that g_assert_true() returns only if it is true. */
static void hold_while_another_tries(void *arg) NO_THREAD_SAFETY_ANALYSIS
{
	g_assert_true(try_co_mutex_lock(&mutex));
	g_assert_true(co_mutex_is_mine(&mutex));
	co_start(try_in_vain, NULL);
	co_reschedule();
	g_assert_true(co_mutex_is_mine(&mutex));
	co_mutex_unlock(&mutex);
	g_assert_false(co_mutex_is_mine(&mutex));
	tell("a");
}

static void test_mutex_try_never_waits(void)
{
	run_story(hold_while_another_tries, "ba");
}

static void lock_and_tell(void *arg)
{
	co_mutex_lock(&mutex);
	tell(arg);
	co_reschedule();
	co_mutex_unlock(&mutex);
}

static void hold_while_others_come(void *arg)
{
	co_mutex_lock(&mutex);
	co_start(lock_and_tell, "a");
	co_start(lock_and_tell, "b");
	co_start(lock_and_tell, "c");
	co_reschedule();
	tell("-");
	co_mutex_unlock(&mutex);
	co_reschedule();
	lock_and_tell("d");
}

static void test_mutex_keeps_the_order(void)
{
	run_story(hold_while_others_come, "-abcd");
}

static void take_once(void *arg)
{
	co_mutex_lock(&mutex);
	*(bool *)arg = true;
	co_mutex_unlock(&mutex);
}

static void take_again_and_again(void *arg)
{
	bool taken = false;
	unsigned passes = 0;

	co_mutex_lock(&mutex);
	co_start(take_once, &taken);
	co_reschedule();
	co_mutex_unlock(&mutex);
	while (!taken && passes <= CO_MUTEX_PASSES) {
		co_mutex_lock(&mutex);
		co_mutex_unlock(&mutex);
		passes++;
	}
	g_assert_true(taken);
}

static void test_mutex_starves_nobody(void)
{
	test_run(take_again_and_again, NULL);
}

/* So many, or as many as there is time for. On a busy machine, each waits for all other tasks. */
#define MEETINGS     20000
#define MEETINGS_NS  UINT64_C(10000000000)
#define MEETING_NS   10000 /* longer than a taker spins before it sleeps */
#define MISSED_IT_NS UINT64_C(300000000000)

static _Atomic unsigned arrived;
static _Atomic bool is_late;

/* Returns once both are here; gives up if one never comes. */
static void meet(unsigned number)
{
	uint64_t deadline = test_now_ns() + MISSED_IT_NS;

	arrived++;
	while (arrived < LOOPS * number) {
		g_assert_cmpuint(test_now_ns(), <, deadline);
		g_thread_yield();
	}
}

/* No later taker would wake one that went to sleep on a free mutex. */
static void take_once_and_meet(void *arg)
{
	GRand *rand = g_rand_new_with_seed(aio_loop_id(aio_loop_current()));
	uint64_t end = test_now_ns() + MEETINGS_NS;

	/* Both see the same: it is only set before a meeting, and only looked at after it. */
	for (unsigned i = 0; i < MEETINGS && !is_late; i++) {
		uint64_t until;

		meet(2 * i + 1);
		co_mutex_lock(&mutex);
		until = test_now_ns() + g_rand_int_range(rand, 0, MEETING_NS);
		while (test_now_ns() < until)
			;
		co_mutex_unlock(&mutex);
		if (until > end)
			is_late = true;
		meet(2 * i + 2);
	}
	g_rand_free(rand);
}

static void test_mutex_is_never_slept_on_while_free(void)
{
	test_run_crews(LOOPS, 1, take_once_and_meet, NULL);
}

static void destroy_held(void *arg) NO_THREAD_SAFETY_ANALYSIS
{
	co_mutex_lock(&mutex);
	co_mutex_destroy(&mutex);
}

static void die_of_destroying_held(void)
{
	test_run(destroy_held, NULL);
}

static void test_mutex_destroy_asserts_free(void)
{
	test_aborts(die_of_destroying_held);
}

/* ---- co_queue ---- */

static void wait_and_tell(void *arg)
{
	co_mutex_lock(&mutex);
	co_queue_wait(&queue, &mutex);
	g_assert_true(co_mutex_is_mine(&mutex));
	tell(arg);
	co_mutex_unlock(&mutex);
}

/* The analysis cannot see that g_assert_true() returns only if it is true. */
static void wake_waiters(void *arg) NO_THREAD_SAFETY_ANALYSIS
{
	co_mutex_lock(&mutex);
	g_assert_true(co_queue_empty(&queue));
	g_assert_false(co_queue_wake_one(&queue));
	co_mutex_unlock(&mutex);
	co_start(wait_and_tell, "a");
	co_start(wait_and_tell, "b");
	co_start(wait_and_tell, "c");
	co_reschedule();
	/* The waiters dropped it. */
	g_assert_true(try_co_mutex_lock(&mutex));
	g_assert_false(co_queue_empty(&queue));
	g_assert_true(co_queue_wake_one(&queue));
	tell("1");
	co_mutex_unlock(&mutex);
	co_reschedule();
	co_mutex_lock(&mutex);
	tell("2");
	co_queue_wake_all(&queue);
	g_assert_true(co_queue_empty(&queue));
	co_mutex_unlock(&mutex);
	co_reschedule();
	co_reschedule();
}

static void test_queue_wakes_in_order(void)
{
	run_story(wake_waiters, "1a2bc");
}

/* A bounded buffer: half of the crew produces, the other half consumes. */
#define BUFFER_MAX 4

static unsigned roles;
static unsigned buffer;
static struct co_queue not_empty;
static struct co_queue not_full;

static void put(void)
{
	thread_lock(&lock);
	while (buffer == BUFFER_MAX)
		co_queue_wait_thread(&not_full, &lock);
	buffer++;
	co_queue_wake_one(&not_empty);
	thread_unlock(&lock);
}

static void get(void)
{
	thread_lock(&lock);
	while (!buffer)
		co_queue_wait_thread(&not_empty, &lock);
	buffer--;
	total++;
	co_queue_wake_one(&not_full);
	thread_unlock(&lock);
}

static void put_or_get(void *arg)
{
	unsigned role;

	thread_lock(&lock);
	role = roles++;
	thread_unlock(&lock);
	for (unsigned i = 0; i < ROUNDS; i++)
		role % 2 ? put() : get();
}

static void test_queue_across_loops(void)
{
	total = 0;
	test_run_crews(LOOPS, 20, put_or_get, NULL);
	g_assert_cmpuint(buffer, ==, 0);
	g_assert_cmpuint(total, ==, LOOPS * 20 / 2 * ROUNDS);
	co_queue_destroy(&not_empty);
	co_queue_destroy(&not_full);
}

/* ---- co_rwlock ---- */

static void read_and_tell(void *arg)
{
	co_rwlock_rdlock(&rwlock);
	tell(arg);
	co_reschedule();
	tell(arg);
	co_rwlock_rdunlock(&rwlock);
}

static void write_and_tell(void *arg)
{
	co_rwlock_wrlock(&rwlock);
	tell(arg);
	co_reschedule();
	tell(arg);
	co_rwlock_wrunlock(&rwlock);
}

static void reschedule_often(void)
{
	for (unsigned i = 0; i < 10; i++)
		co_reschedule();
}

static void read_together(void *arg)
{
	co_start(read_and_tell, "a");
	co_start(read_and_tell, "b");
	reschedule_often();
}

static void test_rwlock_readers_share(void)
{
	run_story(read_together, "abab");
}

static void write_in_turn(void *arg)
{
	co_start(write_and_tell, "A");
	co_start(write_and_tell, "B");
	reschedule_often();
}

static void test_rwlock_writers_exclude(void)
{
	run_story(write_in_turn, "AABB");
}

static void write_amid_readers(void *arg)
{
	co_start(read_and_tell, "a");
	co_start(write_and_tell, "W");
	co_start(read_and_tell, "b");
	reschedule_often();
}

/* The second reader could share with the first, but that would make the writer wait longer. */
static void test_rwlock_writer_stops_new_readers(void)
{
	run_story(write_amid_readers, "aaWWbb");
}

static void read_between_writers(void *arg)
{
	co_start(write_and_tell, "V");
	co_start(write_and_tell, "W");
	co_start(read_and_tell, "a");
	co_start(read_and_tell, "b");
	reschedule_often();
}

static void test_rwlock_waiting_readers_come_before_next_writer(void)
{
	run_story(read_between_writers, "VVababWW");
}

/* All words are equal except while a writer changes them. */
static unsigned long words[8];

static void check_words(void)
{
	for (unsigned i = 1; i < G_N_ELEMENTS(words); i++)
		g_assert_cmpuint(words[i], ==, words[0]);
}

static void read_and_write_words(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 10) {
			co_rwlock_rdlock(&rwlock);
			check_words();
			if (i % 10 == 1)
				co_reschedule();
			check_words();
			co_rwlock_rdunlock(&rwlock);
		} else {
			co_rwlock_wrlock(&rwlock);
			for (unsigned n = 0; n < G_N_ELEMENTS(words); n++) {
				words[n]++;
				if (n == i / 10 % 16)
					co_reschedule();
			}
			co_rwlock_wrunlock(&rwlock);
		}
		if (i % 7 == 0)
			co_reschedule();
	}
}

static void test_rwlock_across_loops(void)
{
	memset(words, 0, sizeof(words));
	test_run_crews(LOOPS, 10, read_and_write_words, NULL);
	check_words();
	g_assert_cmpuint(words[0], ==, LOOPS * 10 * ROUNDS / 10);
}

/*
 * One coroutine on each loop and nothing in between, so that readers and writers meet in the few
 * instructions that decide which one was first.
 */
static void read_or_write_words(void *arg)
{
	for (unsigned i = 0; i < 50 * ROUNDS; i++) {
		co_rwlock_rdlock(&rwlock);
		check_words();
		co_rwlock_rdunlock(&rwlock);
		if (i % 4)
			continue;
		co_rwlock_wrlock(&rwlock);
		for (unsigned n = 0; n < G_N_ELEMENTS(words); n++)
			words[n]++;
		co_rwlock_wrunlock(&rwlock);
	}
}

static void test_rwlock_in_tight_loops(void)
{
	memset(words, 0, sizeof(words));
	test_run_crews(LOOPS, 1, read_or_write_words, NULL);
	check_words();
	g_assert_cmpuint(words[0], ==, LOOPS * 50 * ROUNDS / 4);
}

/* ---- */

static void test_init_and_destroy(void)
{
	g_autofree struct co_rwlock *made = g_new(struct co_rwlock, 1);
	struct co_mutex made_mutex;
	struct co_queue made_queue;

	memset(made, 0xff, sizeof(*made));
	co_rwlock_init(made);
	co_rwlock_destroy(made);
	memset(&made_mutex, 0xff, sizeof(made_mutex));
	co_mutex_init(&made_mutex);
	co_mutex_destroy(&made_mutex);
	memset(&made_queue, 0xff, sizeof(made_queue));
	co_queue_init(&made_queue);
	co_queue_destroy(&made_queue);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/mutex/excludes", test_mutex_excludes);
	g_test_add_func("/mutex/excludes-across-loops", test_mutex_excludes_across_loops);
	g_test_add_func("/mutex/try-never-waits", test_mutex_try_never_waits);
	g_test_add_func("/mutex/keeps-the-order", test_mutex_keeps_the_order);
	g_test_add_func("/mutex/starves-nobody", test_mutex_starves_nobody);
	g_test_add_func("/mutex/is-never-slept-on-while-free",
			test_mutex_is_never_slept_on_while_free);
	g_test_add_func("/mutex/destroy-asserts-free", test_mutex_destroy_asserts_free);
	g_test_add_func("/queue/wakes-in-order", test_queue_wakes_in_order);
	g_test_add_func("/queue/across-loops", test_queue_across_loops);
	g_test_add_func("/rwlock/readers-share", test_rwlock_readers_share);
	g_test_add_func("/rwlock/writers-exclude", test_rwlock_writers_exclude);
	g_test_add_func("/rwlock/writer-stops-new-readers", test_rwlock_writer_stops_new_readers);
	g_test_add_func("/rwlock/waiting-readers-come-before-next-writer",
			test_rwlock_waiting_readers_come_before_next_writer);
	g_test_add_func("/rwlock/across-loops", test_rwlock_across_loops);
	g_test_add_func("/rwlock/in-tight-loops", test_rwlock_in_tight_loops);
	g_test_add_func("/init-and-destroy", test_init_and_destroy);
	return g_test_run();
}
