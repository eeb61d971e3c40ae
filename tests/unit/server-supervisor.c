// SPDX-License-Identifier: GPL-2.0-or-later
/* What a service manager is told, and what it asks for. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "image-test.h"
#include "supervisor.h"

static int manager;

static void check_heard(const char *expected)
{
	char text[200] = "";

	g_assert_cmpint(recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT), >, 0);
	g_assert_cmpstr(text, ==, expected);
}

CO_TEST(test_it_hears_of_us)
{
	struct sockaddr_un address = { AF_UNIX, "notify" };

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	g_assert_cmpint(bind(manager, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_setenv("NOTIFY_SOCKET", address.sun_path, TRUE);
	supervisor_co_alive();
	check_heard("WATCHDOG=1");
	supervisor_co_stopping();
	check_heard("STOPPING=1");
	g_unsetenv("NOTIFY_SOCKET");
	supervisor_co_alive();
	g_assert_cmpint(recv(manager, &address, 1, MSG_DONTWAIT), <, 0);
	close(manager);
}

static guint64 watchdog_us(const char *us, const char *pid)
{
	g_unsetenv("WATCHDOG_USEC");
	g_unsetenv("WATCHDOG_PID");
	if (us)
		g_setenv("WATCHDOG_USEC", us, TRUE);
	if (pid)
		g_setenv("WATCHDOG_PID", pid, TRUE);
	return supervisor_watchdog_us();
}

static void test_the_watchdog_is_ours_or_not(void)
{
	g_autofree char *us = g_strdup_printf("%d", getpid());
	g_autofree char *other = g_strdup_printf("%d", getppid());

	g_assert_cmpuint(watchdog_us(NULL, NULL), ==, 0);
	g_assert_cmpuint(watchdog_us("60000000", NULL), ==, 60000000);
	g_assert_cmpuint(watchdog_us("60000000", us), ==, 60000000);
	g_assert_cmpuint(watchdog_us("60000000", other), ==, 0);
	g_assert_cmpuint(watchdog_us("soon", us), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/supervisor/it-hears-of-us", test_it_hears_of_us);
	g_test_add_func("/supervisor/the-watchdog-is-ours-or-not",
			test_the_watchdog_is_ours_or_not);
	return leave_scratch(folder, g_test_run());
}
