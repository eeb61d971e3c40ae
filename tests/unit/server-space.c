// SPDX-License-Identifier: GPL-2.0-or-later
/* When people are told that little space is left. */
#include <glib.h>

#include "space.h"

static unsigned level_of(double percent, unsigned before)
{
	const struct image_space space = { percent * 1000, 100000 };

	return space_level(&space, before);
}

static void test_thresholds(void)
{
	g_assert_cmpuint(level_of(100, 0), ==, 0);
	g_assert_cmpuint(level_of(10, 0), ==, 0);
	g_assert_cmpuint(level_of(9.9, 0), ==, 10);
	g_assert_cmpuint(level_of(5, 10), ==, 10);
	g_assert_cmpuint(level_of(4.9, 10), ==, 5);
	g_assert_cmpuint(level_of(0.9, 10), ==, 1);
	g_assert_cmpuint(level_of(0, 0), ==, 1);
}

/* It is told once, however often the threshold is crossed. */
static void test_hysteresis(void)
{
	g_assert_cmpuint(level_of(10.1, 10), ==, 10);
	g_assert_cmpuint(level_of(11.9, 10), ==, 10);
	g_assert_cmpuint(level_of(12, 10), ==, 0);
	g_assert_cmpuint(level_of(5.9, 5), ==, 5);
	g_assert_cmpuint(level_of(6, 5), ==, 10);
	g_assert_cmpuint(level_of(11.9, 5), ==, 10);
	g_assert_cmpuint(level_of(1.1, 1), ==, 1);
	g_assert_cmpuint(level_of(1.2, 1), ==, 5);
	g_assert_cmpuint(level_of(50, 1), ==, 0);
	g_assert_true(space_got_less(10, 0));
	g_assert_true(space_got_less(1, 5));
	g_assert_false(space_got_less(5, 1));
	g_assert_false(space_got_less(0, 1));
}

static void test_unknown(void)
{
	const struct image_space unknown = { 0, 0 };

	g_assert_cmpuint(space_level(&unknown, 0), ==, 0);
	g_assert_cmpuint(space_level(&unknown, 5), ==, 5);
}

static void test_words(void)
{
	const struct image_space space = { 3 << 20, 100 << 20 };
	g_autofree char *low = space_describe(&space, 5), *enough = space_describe(&space, 0);

	g_assert_cmpstr(low, ==, "only 3 MiB (3.0 %) of space is left where it is written");
	g_assert_cmpstr(enough, ==,
			"there is enough space again where it is written: 3 MiB (3.0 %)");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/space/thresholds", test_thresholds);
	g_test_add_func("/space/hysteresis", test_hysteresis);
	g_test_add_func("/space/unknown", test_unknown);
	g_test_add_func("/space/words", test_words);
	return g_test_run();
}
