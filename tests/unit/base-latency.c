// SPDX-License-Identifier: GPL-2.0-or-later
/* The edges of buckets of latencies, and percentiles. */
#include <glib.h>

#include "latency.h"

static void buckets_leave_no_gap(void)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		uint64_t from = latency_from_us(i), to = latency_from_us(i + 1);

		g_assert_cmpuint(from, <, to);
		g_assert_cmpuint(latency_bucket(from), ==, i);
		g_assert_cmpuint(latency_bucket(to - 1), ==, i);
		/* A quarter at most, or 1 us. */
		g_assert_cmpuint(to - from, <=, MAX(from / 4, 1));
	}
	g_assert_cmpuint(latency_from_us(0), ==, 0);
	g_assert_cmpuint(latency_from_us(LATENCY_BUCKETS - 1), ==, 29360128);
	g_assert_cmpuint(latency_bucket(UINT64_MAX), ==, LATENCY_BUCKETS - 1);
}

static void percentiles(void)
{
	uint64_t counts[LATENCY_BUCKETS] = { 0 };

	g_assert_cmpfloat(latency_percentile_us(counts, 0.5), ==, 0);
	/* From 64 to 80 us. */
	counts[latency_bucket(64)] = 100;
	g_assert_cmpfloat(latency_percentile_us(counts, 0.5), ==, 72);
	g_assert_cmpfloat(latency_percentile_us(counts, 1), ==, 80);
	/* One of a hundred and one is much slower. */
	counts[latency_bucket(1 << 20)] = 1;
	g_assert_cmpfloat(latency_percentile_us(counts, 0.99), <=, 80);
	g_assert_cmpfloat(latency_percentile_us(counts, 0.999), >, 1 << 20);
	/* As slow as can be told. */
	counts[LATENCY_BUCKETS - 1] = 1000;
	g_assert_cmpfloat(latency_percentile_us(counts, 0.99), >, 29360128);
	g_assert_cmpfloat(latency_percentile_us(counts, 1), ==, 1 << 25);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/latency/buckets-leave-no-gap", buckets_leave_no_gap);
	g_test_add_func("/latency/percentiles", percentiles);
	return g_test_run();
}
