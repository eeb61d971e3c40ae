// SPDX-License-Identifier: GPL-2.0-or-later
/* Which process has a device open, with terminals in place of disks. */
#include <fcntl.h>
#include <glib.h>
#include <unistd.h>

#include "disk_opener.h"
#include "terminals.h"

static void test_other_process_is_found(void)
{
	int master;
	g_autofree char *path = new_terminal(&master);
	pid_t pid = open_elsewhere(path);
	g_autofree char *wanted = g_strdup_printf("PID %d, ", pid), *found = disk_opener(path);

	g_assert_nonnull(found);
	g_assert_true(g_str_has_prefix(found, wanted));
	end_opener(pid);
	close(master);
}

static void test_this_process_does_not_count(void)
{
	int master, fd;
	g_autofree char *path = new_terminal(&master);

	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	g_assert_cmpint(fd, >=, 0);
	g_assert_null(disk_opener(path));
	close(fd);
	close(master);
}

static void test_what_is_not_a_device(void)
{
	g_assert_null(disk_opener("/proc/self/status"));
	g_assert_null(disk_opener("/dev/missing"));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/disk-opener/other-process-is-found", test_other_process_is_found);
	g_test_add_func("/control/disk-opener/this-process-does-not-count",
			test_this_process_does_not_count);
	g_test_add_func("/control/disk-opener/what-is-not-a-device", test_what_is_not_a_device);
	return g_test_run();
}
