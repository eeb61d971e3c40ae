// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Everything in aio/ at once: coroutines on four loops share locks, wake and start each other, use
 * workers and read a file, at random.
 */
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "aio-test.h"
#include "colock.h"

#define LOOPS 4
#ifdef UBD_TSAN
#define MEMBERS 150
#define ROUNDS	20
#else
#define MEMBERS 1000
#define ROUNDS	40
#endif

static struct aio_loop *loops[LOOPS];
static _Atomic unsigned running = LOOPS * MEMBERS;
static int file = -1;

/* Plain memory under each kind of lock, so that ThreadSanitizer checks the ordering by the lock. */
static struct co_mutex mutex;
static unsigned long under_mutex;
static struct co_rwlock rwlock;
static unsigned long under_rwlock[4];
static struct co_mutex tokens_mutex;
static struct co_queue tokens_queue;
static unsigned tokens;
static unsigned long tokens_taken;

/* How often each was done. */
static _Atomic unsigned long count_mutex, count_write, count_token, count_rest;

static void sometimes_yield(GRand *rand)
{
	if (g_rand_boolean(rand))
		co_reschedule();
}

static void do_mutex(GRand *rand)
{
	unsigned long seen;

	co_mutex_lock(&mutex);
	seen = under_mutex;
	sometimes_yield(rand);
	under_mutex = seen + 1;
	co_mutex_unlock(&mutex);
	count_mutex++;
}

static void check_words(void)
{
	for (unsigned i = 1; i < G_N_ELEMENTS(under_rwlock); i++)
		g_assert_cmpuint(under_rwlock[i], ==, under_rwlock[0]);
}

static void do_read(GRand *rand)
{
	unsigned long seen;

	co_rwlock_rdlock(&rwlock);
	check_words();
	seen = under_rwlock[0];
	sometimes_yield(rand);
	check_words();
	g_assert_cmpuint(under_rwlock[0], ==, seen);
	co_rwlock_rdunlock(&rwlock);
	count_rest++;
}

static void do_write(GRand *rand)
{
	if (g_rand_int_range(rand, 0, 8)) {
		do_read(rand);
		return;
	}
	co_rwlock_wrlock(&rwlock);
	for (unsigned i = 0; i < G_N_ELEMENTS(under_rwlock); i++) {
		under_rwlock[i]++;
		sometimes_yield(rand);
	}
	co_rwlock_wrunlock(&rwlock);
	count_write++;
}

/* Each puts a token in before taking one out, so the last taker always finds one. */
static void do_token(GRand *rand)
{
	co_mutex_lock(&tokens_mutex);
	tokens++;
	co_queue_wake_one(&tokens_queue);
	co_mutex_unlock(&tokens_mutex);
	sometimes_yield(rand);
	co_mutex_lock(&tokens_mutex);
	while (!tokens)
		co_queue_wait(&tokens_queue, &tokens_mutex);
	tokens--;
	tokens_taken++;
	co_mutex_unlock(&tokens_mutex);
	count_token++;
}

struct visit {
	struct coroutine *visitor;
	unsigned long answer;
};

static void answer_visit(void *arg)
{
	struct visit *visit = arg;

	visit->answer = aio_loop_id(aio_loop_current());
	co_wake(visit->visitor);
}

static void do_visit(GRand *rand)
{
	struct visit visit = { .visitor = co_self(), .answer = ~0ul };
	unsigned where = g_rand_int_range(rand, 0, LOOPS);

	co_start_on(loops[where], answer_visit, &visit);
	co_yield();
	g_assert_cmpuint(visit.answer, ==, aio_loop_id(loops[where]));
	count_rest++;
}

static int square(void *arg)
{
	int *number = arg;

	return *number * *number;
}

static void do_work(GRand *rand)
{
	int number = g_rand_int_range(rand, 0, 1000);

	g_assert_cmpint(co_run_on_worker(square, &number), ==, number * number);
	count_rest++;
}

static void do_file(GRand *rand)
{
	uint64_t off = 8 * g_rand_int_range(rand, 0, 512), back = ~off;
	struct iovec iov = { &back, sizeof(back) };

	g_assert_cmpint(co_preadv(file, &iov, 1, off), ==, sizeof(back));
	g_assert_cmpuint(back, ==, off);
	count_rest++;
}

static void do_sleep(GRand *rand)
{
	co_sleep_ns(g_rand_int_range(rand, 0, 100000));
	count_rest++;
}

static void member(void *arg)
{
	static void (*const deeds[])(GRand * rand) = {
		do_mutex, do_write, do_token, do_visit, do_work, do_file, do_sleep,
	};
	GRand *rand = g_rand_new_with_seed(GPOINTER_TO_UINT(arg));

	for (unsigned i = 0; i < ROUNDS; i++)
		deeds[g_rand_int_range(rand, 0, G_N_ELEMENTS(deeds))](rand);
	g_rand_free(rand);
	if (--running)
		return;
	for (unsigned i = 0; i < LOOPS; i++)
		aio_loop_stop(loops[i]);
}

static void *run_loop(void *loop)
{
	aio_loop_run(loop);
	return NULL;
}

static void make_file(void)
{
	g_autofree char *path = NULL;
	uint64_t words[512];

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
		words[i] = 8 * i;
	file = g_file_open_tmp("ubd-aio-XXXXXX", &path, NULL);
	g_assert_cmpint(file, >=, 0);
	g_assert_cmpint(g_unlink(path), ==, 0);
	g_assert_cmpint(write(file, words, sizeof(words)), ==, sizeof(words));
}

static void test_everything_at_once(void)
{
	GThread *threads[LOOPS];

	make_file();
	for (unsigned i = 0; i < LOOPS; i++)
		loops[i] = test_loop_new();
	/* Started here, so that all begin to run in their loop's first turns. */
	for (unsigned i = 0; i < LOOPS * MEMBERS; i++)
		co_start_on(loops[i % LOOPS], member, GUINT_TO_POINTER(g_test_rand_int()));
	for (unsigned i = 0; i < LOOPS; i++)
		threads[i] = g_thread_new("loop", run_loop, loops[i]);
	for (unsigned i = 0; i < LOOPS; i++)
		g_thread_join(threads[i]);
	for (unsigned i = 0; i < LOOPS; i++)
		aio_loop_free(loops[i]);
	close(file);

	g_assert_cmpuint(count_mutex + count_write + count_token + count_rest, ==,
			 (unsigned long)LOOPS * MEMBERS * ROUNDS);
	g_assert_cmpuint(under_mutex, ==, count_mutex);
	check_words();
	g_assert_cmpuint(under_rwlock[0], ==, count_write);
	g_assert_cmpuint(tokens_taken, ==, count_token);
	g_assert_cmpuint(tokens, ==, 0);
	co_mutex_destroy(&mutex);
	co_mutex_destroy(&tokens_mutex);
	co_queue_destroy(&tokens_queue);
	co_rwlock_destroy(&rwlock);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/aio/everything-at-once", test_everything_at_once);
	return g_test_run();
}
