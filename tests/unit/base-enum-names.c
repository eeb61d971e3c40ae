// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of values, in both directions. */
#include <glib.h>

#include "enum_names.h"

static const struct enum_name names[] = {
	{ "none", 0 },
	{ "wide", 1ull << 40 },
	{ "broad", 1ull << 40 },
	{},
};
static const struct enum_name nothing[] = { {} };

static void from_name(void)
{
	uint64_t value = 7;

	g_assert_true(enum_from_name(names, "none", &value));
	g_assert_cmpuint(value, ==, 0);
	g_assert_true(enum_from_name(names, "broad", &value));
	g_assert_cmpuint(value, ==, 1ull << 40);
}

static void unknown_name(void)
{
	uint64_t value = 7;

	g_assert_false(enum_from_name(names, "", &value));
	g_assert_false(enum_from_name(names, "non", &value));
	g_assert_false(enum_from_name(names, "nones", &value));
	g_assert_false(enum_from_name(names, "None", &value));
	g_assert_false(enum_from_name(nothing, "none", &value));
	g_assert_cmpuint(value, ==, 7);
}

static void to_name(void)
{
	g_assert_cmpstr(enum_to_name(names, 0), ==, "none");
	g_assert_cmpstr(enum_to_name(names, 1ull << 40), ==, "wide");
	g_assert_null(enum_to_name(names, 1));
	g_assert_null(enum_to_name(nothing, 0));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/enum-names/from-name", from_name);
	g_test_add_func("/enum-names/unknown-name", unknown_name);
	g_test_add_func("/enum-names/to-name", to_name);
	return g_test_run();
}
