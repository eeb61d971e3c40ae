// SPDX-License-Identifier: GPL-2.0-or-later
/* The struct around a member. */
#include <glib.h>

#include "container_of.h"

struct outer {
	int first;
	struct inner {
		int number;
	} inner, others[2];
};

static void any_member(void)
{
	struct outer outer;

	g_assert_true(container_of(&outer.first, struct outer, first) == &outer);
	g_assert_true(container_of(&outer.inner, struct outer, inner) == &outer);
	g_assert_true(container_of(&outer.others[1], struct outer, others[1]) == &outer);
}

/* The macro evaluates its argument once, as a function would. */
static void no_side_effect_twice(void)
{
	struct outer outers[3];
	struct inner *members[] = { &outers[0].inner, &outers[1].inner, &outers[2].inner };
	struct inner **next = members;

	g_assert_true(container_of(*next++, struct outer, inner) == &outers[0]);
	g_assert_true(next == members + 1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/container-of/any-member", any_member);
	g_test_add_func("/container-of/no-side-effect-twice", no_side_effect_twice);
	return g_test_run();
}
