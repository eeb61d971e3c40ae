// SPDX-License-Identifier: GPL-2.0-or-later
/* The thread that gets memory for others: it does what it is asked for, and looks for what is idle.
 */
#include <glib.h>
#include <pthread.h>
#include <stdint.h>

#include "colock.h"
#include "grower.h"

#define SHORT_NS 1000000ull
#define LONG_NS	 UINT64_C(3600000000000)

struct user {
	struct growing growing;
	struct thread_lock lock;
	pthread_cond_t changed;
	/* Guarded by lock. */
	unsigned grown, shrunk, looks;
	unsigned busy_looks; /* it is not idle that often */
	bool holds;	     /* grow() does not return */
	unsigned failures;   /* there is no memory that often */
	bool is_growing;
};

static bool grow(void *arg)
{
	struct user *user = arg;
	bool has_all;

	thread_lock(&user->lock);
	user->is_growing = true;
	pthread_cond_broadcast(&user->changed);
	while (user->holds)
		pthread_cond_wait(&user->changed, &user->lock.mutex);
	user->is_growing = false;
	has_all = ++user->grown > user->failures;
	pthread_cond_broadcast(&user->changed);
	thread_unlock(&user->lock);
	return has_all;
}

static bool is_idle(void *arg)
{
	struct user *user = arg;
	bool idle;

	thread_lock(&user->lock);
	idle = ++user->looks > user->busy_looks;
	thread_unlock(&user->lock);
	return idle;
}

static void shrink(void *arg)
{
	struct user *user = arg;

	thread_lock(&user->lock);
	user->shrunk++;
	pthread_cond_broadcast(&user->changed);
	thread_unlock(&user->lock);
}

static const struct growing_ops ops = { grow, is_idle, shrink };

static void begin(struct user *user)
{
	*user = (struct user){ .growing = { .ops = &ops, .arg = user } };
	thread_lock_init(&user->lock);
	pthread_cond_init(&user->changed, NULL);
	g_assert_cmpint(grower_add(&user->growing), ==, 0);
}

static void end(struct user *user)
{
	grower_remove(&user->growing);
	thread_lock_destroy(&user->lock);
	pthread_cond_destroy(&user->changed);
}

static void wait_for(struct user *user, const unsigned *value, unsigned expected)
{
	thread_lock(&user->lock);
	while (*value < expected)
		pthread_cond_wait(&user->changed, &user->lock.mutex);
	g_assert_cmpuint(*value, ==, expected);
	thread_unlock(&user->lock);
}

static void test_grows_when_asked(void)
{
	struct user one, two;

	grower_set_period_ns(LONG_NS);
	begin(&one);
	begin(&two);
	grower_ask(&two.growing);
	wait_for(&two, &two.grown, 1);
	grower_ask(&one.growing);
	wait_for(&one, &one.grown, 1);
	grower_ask(&two.growing);
	wait_for(&two, &two.grown, 2);
	end(&one);
	end(&two);
	g_assert_cmpuint(one.grown, ==, 1);
	g_assert_cmpuint(two.grown, ==, 2);
	g_assert_cmpuint(one.shrunk + two.shrunk, ==, 0);
}

/* What was asked for while it grows is not lost. */
static void test_asks_meanwhile_count(void)
{
	struct user user;

	grower_set_period_ns(LONG_NS);
	begin(&user);
	user.holds = true;
	grower_ask(&user.growing);
	thread_lock(&user.lock);
	while (!user.is_growing)
		pthread_cond_wait(&user.changed, &user.lock.mutex);
	thread_unlock(&user.lock);
	grower_ask(&user.growing);
	thread_lock(&user.lock);
	user.holds = false;
	pthread_cond_broadcast(&user.changed);
	thread_unlock(&user.lock);
	wait_for(&user, &user.grown, 2);
	end(&user);
}

/* What finds no memory tries again after a while, and keeps nobody else waiting. */
static void test_no_memory(void)
{
	struct user poor, other;
	gint64 begin_us = g_get_monotonic_time();

	grower_set_period_ns(LONG_NS);
	begin(&poor);
	begin(&other);
	poor.failures = 3;
	grower_ask(&poor.growing);
	grower_ask(&other.growing);
	wait_for(&other, &other.grown, 1);
	wait_for(&poor, &poor.grown, 4);
	g_assert_cmpint(g_get_monotonic_time() - begin_us, >=, 3 * 50000);
	end(&other);
	end(&poor);
	g_assert_cmpuint(poor.grown, ==, 4);
}

/* Only what has grown is looked at, until it is idle, and again after it has grown again. */
static void test_shrinks_what_is_idle(void)
{
	struct user busy, other;

	grower_set_period_ns(SHORT_NS);
	begin(&busy);
	begin(&other);
	busy.busy_looks = 3;
	grower_ask(&busy.growing);
	wait_for(&busy, &busy.shrunk, 1);
	g_assert_cmpuint(busy.looks, ==, 4);
	grower_ask(&other.growing);
	wait_for(&other, &other.shrunk, 1);
	g_assert_cmpuint(busy.shrunk, ==, 1);
	grower_ask(&busy.growing);
	wait_for(&busy, &busy.shrunk, 2);
	end(&other);
	end(&busy);
	g_assert_cmpuint(other.looks, ==, 1);
	g_assert_cmpuint(busy.looks, ==, 5);
}

static void *release_later(void *arg)
{
	struct user *user = arg;

	/* A removal that does not wait is most likely over by then. */
	g_usleep(20000);
	thread_lock(&user->lock);
	user->holds = false;
	pthread_cond_broadcast(&user->changed);
	thread_unlock(&user->lock);
	return NULL;
}

static void test_removal_waits(void)
{
	struct user user;
	GThread *thread;

	grower_set_period_ns(LONG_NS);
	begin(&user);
	user.holds = true;
	grower_ask(&user.growing);
	thread_lock(&user.lock);
	while (!user.is_growing)
		pthread_cond_wait(&user.changed, &user.lock.mutex);
	thread_unlock(&user.lock);
	thread = g_thread_new("release", release_later, &user);
	grower_remove(&user.growing);
	g_assert_cmpuint(user.grown, ==, 1);
	g_thread_join(thread);
	end(&user);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/grower/grows-when-asked", test_grows_when_asked);
	g_test_add_func("/grower/asks-meanwhile-count", test_asks_meanwhile_count);
	g_test_add_func("/grower/shrinks-what-is-idle", test_shrinks_what_is_idle);
	g_test_add_func("/grower/no-memory", test_no_memory);
	g_test_add_func("/grower/removal-waits", test_removal_waits);
	return g_test_run();
}
