// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counts of references in windows: whatever the counts are, the windows together hold all of them,
 * in memory that is not larger than allowed.
 */
#include <glib.h>
#include <string.h>

#include "qcow2/check.h"

#define NR_CLUSTERS 5000u
#define MANY	    400000u

struct walk {
	GArray *clusters; /* uint64_t: each reference, in the order of the walk */
	uint32_t expected[NR_CLUSTERS];
};

static void walk_init(struct walk *walk)
{
	memset(walk, 0, sizeof(*walk));
	walk->clusters = g_array_new(FALSE, FALSE, sizeof(uint64_t));
}

static void add_references(struct walk *walk, uint64_t cluster, unsigned nr)
{
	walk->expected[cluster] += nr;
	while (nr--)
		g_array_append_val(walk->clusters, cluster);
}

static void fill_window(struct check *c, const struct walk *walk, uint64_t start)
{
	qcow2_check_window_reset(c);
	c->window_start = start;
	c->next_used = UINT64_MAX;
	for (guint i = 0; i < walk->clusters->len; i++)
		qcow2_check_count(c, g_array_index(walk->clusters, uint64_t, i));
}

static void assert_window(const struct check *c, const struct walk *walk)
{
	uint64_t end = MIN(c->window_start + c->window_clusters, NR_CLUSTERS), next = end;

	for (uint64_t i = c->window_start; i < end; i++)
		g_assert_cmpuint(qcow2_check_counted(c, i), ==, walk->expected[i]);
	while (next < NR_CLUSTERS && !walk->expected[next])
		next++;
	g_assert_cmpuint(c->next_used, ==, next < NR_CLUSTERS ? next : UINT64_MAX);
}

/* Walks for all windows, as the check does; returns how many there were. */
static unsigned check_all(const struct walk *walk, uint64_t limit, unsigned *ret_bits)
{
	struct check c = { .nr_clusters = NR_CLUSTERS, .counts.limit = limit, .walk = CHECK_COUNT };
	unsigned windows = 0;
	uint64_t seen_end = 0;

	g_assert_cmpint(qcow2_check_window_init(&c), ==, 0);
	for (uint64_t start = 0; start < NR_CLUSTERS;
	     start = qcow2_check_window_of(&c, c.next_used)) {
		fill_window(&c, walk, start);
		assert_window(&c, walk);
		g_assert_cmpuint(c.window_clusters * c.counts.bits, <=, limit * 8);
		for (; seen_end < start; seen_end++)
			g_assert_cmpuint(walk->expected[seen_end], ==, 0);
		seen_end = start + c.window_clusters;
		windows++;
		if (c.next_used == UINT64_MAX)
			break;
	}
	*ret_bits = c.counts.bits;
	qcow2_check_window_clear(&c);
	return windows;
}

static void test_narrow(void)
{
	struct walk walk;
	unsigned bits;

	walk_init(&walk);
	for (uint64_t i = 0; i < NR_CLUSTERS; i++)
		add_references(&walk, i, i % 4);
	g_assert_cmpuint(check_all(&walk, 1 << 20, &bits), ==, 1);
	g_assert_cmpuint(bits, ==, 2);
	g_assert_cmpuint(check_all(&walk, 256, &bits), ==, 5);
	g_assert_cmpuint(bits, ==, 2);
	g_array_unref(walk.clusters);
}

static void test_wide(void)
{
	static const struct {
		unsigned nr, bits;
	} cases[] = { { 4, 8 }, { 255, 8 }, { 256, 32 }, { MANY, 32 } };

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct walk walk;
		unsigned bits;

		walk_init(&walk);
		add_references(&walk, 0, 3);
		add_references(&walk, 2, 1);
		add_references(&walk, NR_CLUSTERS - 1, cases[i].nr);
		add_references(&walk, 3, 2);
		g_assert_cmpuint(check_all(&walk, 1 << 20, &bits), ==, 1);
		g_assert_cmpuint(bits, ==, cases[i].bits);
		check_all(&walk, 64, &bits);
		g_assert_cmpuint(bits, ==, cases[i].bits);
		g_array_unref(walk.clusters);
	}
}

/* A window that becomes smaller in the middle of its walk, before or behind the cluster. */
static void test_shrink(void)
{
	struct walk walk;
	unsigned bits;

	walk_init(&walk);
	for (uint64_t i = 0; i < NR_CLUSTERS; i += 3)
		add_references(&walk, i, 2);
	add_references(&walk, 200, 300);
	add_references(&walk, 10, 300);
	for (uint64_t i = 0; i < NR_CLUSTERS; i += 5)
		add_references(&walk, i, 1);
	check_all(&walk, 64, &bits);
	g_assert_cmpuint(bits, ==, 32);
	g_array_unref(walk.clusters);
}

static void test_random(void)
{
	g_autoptr(GRand) rand = g_rand_new_with_seed(1);

	for (unsigned i = 0; i < 50; i++) {
		struct walk walk;
		unsigned bits;

		walk_init(&walk);
		for (unsigned j = g_rand_int_range(rand, 1, 300); j > 0; j--) {
			unsigned most = 1u << g_rand_int_range(rand, 0, 10);

			add_references(&walk, g_rand_int_range(rand, 0, NR_CLUSTERS),
				       g_rand_int_range(rand, 1, most + 1));
		}
		check_all(&walk, 64u << g_rand_int_range(rand, 0, 7), &bits);
		g_array_unref(walk.clusters);
	}
}

static void test_saturation(void)
{
	struct check c = { .nr_clusters = 1, .counts.limit = 64, .walk = CHECK_COUNT };

	g_assert_cmpint(qcow2_check_window_init(&c), ==, 0);
	for (unsigned i = 0; i < 256; i++)
		qcow2_check_count(&c, 0);
	g_assert_cmpuint(c.counts.bits, ==, 32);
	*(uint32_t *)c.counts.room = UINT32_MAX - 1;
	qcow2_check_count(&c, 0);
	qcow2_check_count(&c, 0);
	g_assert_cmpuint(qcow2_check_counted(&c, 0), ==, UINT32_MAX);
	qcow2_check_window_clear(&c);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/qcow2/check-window/narrow", test_narrow);
	g_test_add_func("/qcow2/check-window/wide", test_wide);
	g_test_add_func("/qcow2/check-window/shrink", test_shrink);
	g_test_add_func("/qcow2/check-window/random", test_random);
	g_test_add_func("/qcow2/check-window/saturation", test_saturation);
	return g_test_run();
}
