// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is counted of requests, on a loop whose clock stands still until the test moves it. Linked
 * with --wrap.
 */
#include "aio-test.h"
#include "counters.h"

uint64_t __real_aio_now_ns(void);
uint64_t __wrap_aio_now_ns(void);

static uint64_t now_ns;
static unsigned looks; /* at the clock */

uint64_t __wrap_aio_now_ns(void)
{
	looks++;
	return now_ns;
}

static const struct request_desc read_4k = { .op = REQUEST_READ, .bytes = 4096 };
static const struct request_desc flush = { .op = REQUEST_FLUSH };

static struct op_stats stats_of(const struct counters *counters, enum request_op op)
{
	struct op_stats stats = { 0 };

	counters_add(counters, op, &stats);
	return stats;
}

/* Of @n requests, all have latencies of @us. */
static void check_latency(const struct op_stats *stats, uint64_t us, uint64_t n)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		g_assert_cmpuint(stats->latency[i], ==, i == latency_bucket(us) ? n : 0);
	g_assert_cmpuint(stats->total_ns, ==, us * 1000 * n);
	g_assert_cmpuint(stats->max_ns, ==, us * 1000);
}

static void begin_test(void)
{
	now_ns = 1000000;
	looks = 0;
	co_turn();
}

/* A hundred requests that wait for nothing are done at the end of their turn: two looks. */
static void one_turn_co(void *arg)
{
	struct counters *counters = counters_new();
	struct op_stats stats;

	begin_test();
	for (unsigned i = 0; i < 100; i++)
		counters_done(counters, &read_4k, counters_begin(counters), false);
	now_ns += 5000;
	stats = stats_of(counters, REQUEST_READ);
	g_assert_cmpuint(stats.requests, ==, 100);
	g_assert_cmpuint(counters_in_flight(counters), ==, 0);
	co_turn();
	stats = stats_of(counters, REQUEST_READ);
	check_latency(&stats, 5, 100);
	g_assert_cmpuint(stats.bytes, ==, 100 * 4096);
	g_assert_cmpuint(looks, ==, 2);

	/* The next turn begins anew. */
	now_ns += 1000000;
	counters_done(counters, &flush, counters_begin(counters), false);
	now_ns += 7000;
	co_turn();
	stats = stats_of(counters, REQUEST_FLUSH);
	check_latency(&stats, 7, 1);
	counters_free(counters);
}

/* One that waits ends with the turn that its answer comes in. */
static void several_turns_co(void *arg)
{
	struct counters *counters = counters_new();
	struct op_stats stats;
	uint64_t begin_ns;

	begin_test();
	begin_ns = counters_begin(counters);
	g_assert_cmpuint(counters_in_flight(counters), ==, 1);
	now_ns += 300000;
	co_turn();
	counters_done(counters, &read_4k, begin_ns, true);
	stats = stats_of(counters, REQUEST_READ);
	check_latency(&stats, 300, 1);
	g_assert_cmpuint(stats.requests, ==, 1);
	g_assert_cmpuint(stats.failed, ==, 1);
	g_assert_cmpuint(stats.bytes, ==, 0);

	/* The slowest one counts, and the sum has both. */
	begin_ns = counters_begin(counters);
	now_ns += 20000;
	co_turn();
	counters_done(counters, &read_4k, begin_ns, false);
	stats = stats_of(counters, REQUEST_READ);
	g_assert_cmpuint(stats.max_ns, ==, 300000);
	g_assert_cmpuint(stats.total_ns, ==, 320000);
	g_assert_cmpuint(counters_in_flight(counters), ==, 0);
	g_assert_cmpuint(stats_of(counters, REQUEST_WRITE).requests, ==, 0);
	counters_free(counters);
}

static void left_co(void *arg)
{
	struct counters *counters = counters_new();

	counters_begin(counters);
	counters_leave(counters);
	g_assert_cmpuint(counters_in_flight(counters), ==, 0);
	for (unsigned op = 0; op < REQUEST_OPS; op++)
		g_assert_cmpuint(stats_of(counters, op).requests, ==, 0);
	counters_free(counters);
}

static void test_one_turn(void)
{
	test_run(one_turn_co, NULL);
}

static void test_several_turns(void)
{
	test_run(several_turns_co, NULL);
}

static void test_left(void)
{
	test_run(left_co, NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/counters/one-turn", test_one_turn);
	g_test_add_func("/counters/several-turns", test_several_turns);
	g_test_add_func("/counters/left", test_left);
	return g_test_run();
}
