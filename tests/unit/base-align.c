// SPDX-License-Identifier: GPL-2.0-or-later
/* Rounding, at the edges of a block. */
#include <glib.h>

#include "align.h"

static void powers_of_2(void)
{
	g_assert_false(is_power_of_2(0));
	g_assert_true(is_power_of_2(1));
	g_assert_true(is_power_of_2(2));
	g_assert_false(is_power_of_2(3));
	g_assert_false(is_power_of_2(6));
	g_assert_true(is_power_of_2(1ull << 63));
	g_assert_false(is_power_of_2(UINT64_MAX));
}

static void to_a_power_of_2(void)
{
	static const struct {
		uint64_t value, down, up, to_boundary;
	} cases[] = {
		{ 0, 0, 0, 512 },
		{ 1, 0, 512, 511 },
		{ 511, 0, 512, 1 },
		{ 512, 512, 512, 512 },
		{ 513, 512, 1024, 511 },
		/* No width is truncated on the way. */
		{ (1ull << 40) + 1, 1ull << 40, (1ull << 40) + 512, 511 },
		{ UINT64_MAX - 511, UINT64_MAX - 511, UINT64_MAX - 511, 512 },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_assert_cmpuint(align_down(cases[i].value, SECTOR_SIZE), ==, cases[i].down);
		g_assert_cmpuint(align_up(cases[i].value, SECTOR_SIZE), ==, cases[i].up);
		g_assert_cmpuint(bytes_to_boundary(cases[i].value, SECTOR_SIZE), ==,
				 cases[i].to_boundary);
		g_assert_cmpint(is_aligned(cases[i].value, SECTOR_SIZE), ==,
				cases[i].value == cases[i].down);
		g_assert_cmpuint(round_up_to(cases[i].value & INT64_MAX, SECTOR_SIZE), ==,
				 cases[i].up & INT64_MAX);
	}
}

static void to_any_unit(void)
{
	g_assert_cmpuint(div_round_up(0, 3), ==, 0);
	g_assert_cmpuint(div_round_up(1, 3), ==, 1);
	g_assert_cmpuint(div_round_up(3, 3), ==, 1);
	g_assert_cmpuint(div_round_up(4, 3), ==, 2);
	g_assert_cmpuint(round_up_to(0, 3), ==, 0);
	g_assert_cmpuint(round_up_to(4, 3), ==, 6);
	g_assert_cmpuint(round_up_to(6, 3), ==, 6);
	g_assert_cmpuint(round_up_to((1ull << 40) + 1, 1000), ==, 1099511628000);
}

static void sectors(void)
{
	g_assert_cmpuint(SECTOR_SIZE, ==, 1u << SECTOR_SHIFT);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/align/powers-of-2", powers_of_2);
	g_test_add_func("/align/to-a-power-of-2", to_a_power_of_2);
	g_test_add_func("/align/to-any-unit", to_any_unit);
	g_test_add_func("/align/sectors", sectors);
	return g_test_run();
}
