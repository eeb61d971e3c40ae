// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory that requests share: none gets another's memory, and each gets its turn. */
#include <string.h>

#include "bounce_pool.h"
#include "data_pool.h"
#include "image-test.h"

#define PAGE  4096u
#define PAGES 200u

static uint8_t mem[PAGES * PAGE];
static struct bounce_pool pool;
static unsigned order[8], arrived;

struct user {
	unsigned number;
	size_t bytes;
};

static void user_co(void *arg)
{
	struct user *user = arg;
	void *buf = bounce_pool_co_get(&pool, user->bytes);

	order[arrived++] = user->number;
	bounce_pool_put(&pool, buf, user->bytes);
}

CO_TEST(test_all_of_it_is_given_out)
{
	uint8_t *bufs[PAGES];

	bounce_pool_init(&pool, mem, sizeof(mem));
	for (unsigned i = 0; i < PAGES; i++) {
		bufs[i] = bounce_pool_co_get(&pool, i % 2 ? PAGE : 1);
		g_assert_true(bufs[i] == mem + i * PAGE);
	}
	for (unsigned i = 0; i < PAGES; i++)
		bounce_pool_put(&pool, bufs[i], i % 2 ? PAGE : 1);
	bufs[0] = bounce_pool_co_get(&pool, sizeof(mem));
	g_assert_true(bufs[0] == mem);
	bounce_pool_put(&pool, bufs[0], sizeof(mem));
	bounce_pool_destroy(&pool);
}

/* A gap between two buffers in use is found, and used for what fits. */
CO_TEST(test_gaps_are_filled)
{
	uint8_t *first, *gap, *last, *buf;

	bounce_pool_init(&pool, mem, sizeof(mem));
	first = bounce_pool_co_get(&pool, 70 * PAGE);
	gap = bounce_pool_co_get(&pool, 3 * PAGE);
	last = bounce_pool_co_get(&pool, 60 * PAGE);
	bounce_pool_put(&pool, gap, 3 * PAGE);
	buf = bounce_pool_co_get(&pool, 4 * PAGE);
	g_assert_true(buf == last + 60 * PAGE);
	bounce_pool_put(&pool, buf, 4 * PAGE);
	buf = bounce_pool_co_get(&pool, 3 * PAGE);
	g_assert_true(buf == gap);
	bounce_pool_put(&pool, buf, 3 * PAGE);
	bounce_pool_put(&pool, first, 70 * PAGE);
	bounce_pool_put(&pool, last, 60 * PAGE);
	bounce_pool_destroy(&pool);
}

/* A small request does not overtake a large one that is waiting. */
CO_TEST(test_they_come_in_order)
{
	static struct user users[] = {
		{ 0, 150 * PAGE }, { 1, PAGE }, { 2, 120 * PAGE }, { 3, 1 }
	};
	void *buf;

	bounce_pool_init(&pool, mem, sizeof(mem));
	arrived = 0;
	buf = bounce_pool_co_get(&pool, 100 * PAGE);
	for (unsigned i = 0; i < G_N_ELEMENTS(users); i++)
		co_start(user_co, &users[i]);
	co_reschedule();
	g_assert_cmpuint(arrived, ==, 0);
	bounce_pool_put(&pool, buf, 100 * PAGE);
	while (arrived < G_N_ELEMENTS(users))
		co_reschedule();
	for (unsigned i = 0; i < G_N_ELEMENTS(users); i++)
		g_assert_cmpuint(order[i], ==, i);
	bounce_pool_destroy(&pool);
}

/* Many users of all sizes fill what they got with their number, and find it again. */
static unsigned busy;

static void scribbler_co(void *arg)
{
	unsigned number = GPOINTER_TO_UINT(arg);

	for (unsigned round = 0; round < 50; round++) {
		size_t bytes = 1 + (number * 7919 + round * 104729) % (64 * PAGE);
		uint8_t *buf = bounce_pool_co_get(&pool, bytes);

		memset(buf, number, bytes);
		for (unsigned turn = 0; turn < number % 5; turn++)
			co_reschedule();
		for (size_t i = 0; i < bytes; i++)
			g_assert_cmphex(buf[i], ==, number);
		bounce_pool_put(&pool, buf, bytes);
	}
	busy--;
}

CO_TEST(test_nobody_has_another_ones)
{
	bounce_pool_init(&pool, mem, sizeof(mem));
	for (busy = 0; busy < 40; busy++)
		co_start(scribbler_co, GUINT_TO_POINTER(busy + 1));
	while (busy)
		co_reschedule();
	bounce_pool_destroy(&pool);
}

/* ---- a pool that grows ---- */

static void note_ask(void *arg)
{
	++*(unsigned *)arg;
}

static struct data_pool growing;
static bool has_all;

static void take_all_co(void *unused)
{
	void *buf = data_pool_co_get(&growing, 64 * PAGE);

	has_all = true;
	data_pool_put(&growing, buf, 64 * PAGE);
}

/* It does not become smaller than what somebody waits for: nobody else might ask for more again. */
CO_TEST(test_it_stays_for_those_who_wait)
{
	unsigned asked = 0;
	const struct data_pool_config config = {
		.bytes = 64 * PAGE,
		.touched = 8 * PAGE,
		.ask_more = note_ask,
		.arg = &asked,
	};
	void *buf;

	g_assert_cmpint(data_pool_init(&growing, &config), ==, 0);
	buf = data_pool_co_get(&growing, PAGE);
	co_start(take_all_co, NULL);
	co_reschedule();
	g_assert_cmpuint(asked, ==, 1);
	data_pool_grow(&growing);
	data_pool_grown(&growing);
	data_pool_give_back(&growing);
	data_pool_put(&growing, buf, PAGE);
	co_reschedule();
	g_assert_true(has_all);
	/* Then it does. */
	data_pool_give_back(&growing);
	g_assert_false(bounce_pool_has(&growing.bounce, 9 * PAGE));
	data_pool_destroy(&growing);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/bounce/all-of-it-is-given-out", test_all_of_it_is_given_out);
	g_test_add_func("/bounce/gaps-are-filled", test_gaps_are_filled);
	g_test_add_func("/bounce/they-come-in-order", test_they_come_in_order);
	g_test_add_func("/bounce/nobody-has-another-ones", test_nobody_has_another_ones);
	g_test_add_func("/bounce/it-stays-for-those-who-wait", test_it_stays_for_those_who_wait);
	return g_test_run();
}
