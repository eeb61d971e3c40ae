// SPDX-License-Identifier: GPL-2.0-or-later
/* What a service manager is told, and what it asks for. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "image-test.h"
#include "notify_socket.h"
#include "supervisor.h"

static int manager;

static void make_manager(void)
{
	struct sockaddr_un address = { AF_UNIX, "notify" };

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	g_assert_cmpint(bind(manager, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	g_setenv("NOTIFY_SOCKET", address.sun_path, TRUE);
}

static void free_manager(void)
{
	g_unsetenv("NOTIFY_SOCKET");
	close(manager);
	unlink("notify");
}

static void check_heard(const char *expected)
{
	char text[200] = "";

	g_assert_cmpint(recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT), >, 0);
	g_assert_cmpstr(text, ==, expected);
}

static void check_silence(void)
{
	char byte;

	g_assert_cmpint(recv(manager, &byte, 1, MSG_DONTWAIT), <, 0);
}

/* Until it must have heard of us from ubdctl upgrade. */
CO_TEST(test_our_starter_tells_it)
{
	make_manager();
	g_setenv(NOTIFY_BY_STARTER, "1", TRUE);
	supervisor_co_store_fd(manager);
	supervisor_co_ready("/dev/ubdb0");
	supervisor_co_alive();
	check_silence();
	supervisor_co_alive();
	check_heard("WATCHDOG=1");
	supervisor_co_stopping();
	check_heard("STOPPING=1");
	g_unsetenv(NOTIFY_BY_STARTER);
	free_manager();
}

CO_TEST(test_it_hears_of_us)
{
	g_autofree char *ready = g_strdup_printf("READY=1\nSTATUS=good\nMAINPID=%d", getpid());

	make_manager();
	supervisor_co_store_fd(manager);
	check_heard("FDSTOREREMOVE=1\nFDNAME=ubd");
	check_heard("FDSTORE=1\nFDNAME=ubd");
	supervisor_co_ready("good");
	check_heard(ready);
	supervisor_co_alive();
	check_heard("WATCHDOG=1");
	supervisor_co_stopping();
	check_heard("STOPPING=1");
	g_unsetenv("NOTIFY_SOCKET");
	supervisor_co_alive();
	check_silence();
	free_manager();
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
	g_test_add_func("/supervisor/our-starter-tells-it", test_our_starter_tells_it);
	g_test_add_func("/supervisor/it-hears-of-us", test_it_hears_of_us);
	g_test_add_func("/supervisor/the-watchdog-is-ours-or-not",
			test_the_watchdog_is_ours_or_not);
	return leave_scratch(folder, g_test_run());
}
