// SPDX-License-Identifier: GPL-2.0-or-later
/* A test that makes no progress is ended, and named. */
#include <glib.h>
#include <stdio.h>
#include <unistd.h>

#include "watchdog.h"

static void dump(void *arg)
{
	printf("at %s\n", (const char *)arg);
}

static void test_hang(void)
{
	if (g_test_subprocess()) {
		watchdog_start("its-name", 1, dump, "work");
		pause();
	}
	g_test_trap_subprocess(NULL, 0, 0);
	g_test_trap_assert_failed();
	g_test_trap_assert_stdout("*not ok its-name: no progress for 1 seconds\nat work\n*");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/watchdog/hang", test_hang);
	return g_test_run();
}
