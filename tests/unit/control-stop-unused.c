// SPDX-License-Identifier: GPL-2.0-or-later
/* A stop that spares a disk in use, also where the driver cannot tell. */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "disk_tree.h"
#include "terminals.h"
#include "transport.h"

static unsigned stopped;
static int answer; /* of the driver that knows */
static const char *claimed;
static const char *sysfs; /* that of the kernel */

int __wrap_open64(const char *name, int flags, ...);
int __real_open64(const char *name, int flags, ...);

int __wrap_open64(const char *name, int flags, ...)
{
	if (g_strcmp0(name, claimed) == 0 && flags & O_EXCL) {
		errno = EBUSY;
		return -1;
	}
	return __real_open64(name, flags | O_NOCTTY);
}

static int stop(struct transport *transport)
{
	stopped++;
	return 0;
}

static int stop_if_unused(struct transport *transport)
{
	return answer;
}

static const struct transport_ops ignorant = { .stop = stop };
static const struct transport_ops knowing = { .stop = stop, .stop_if_unused = stop_if_unused };

static int stop_unused(const struct transport_ops *ops, const char *path)
{
	struct transport transport = { .ops = ops };

	stopped = 0;
	g_strlcpy(transport.path, path, sizeof(transport.path));
	return transport_stop_if_unused(&transport);
}

static void test_unused_disk_is_stopped(void)
{
	int master;
	g_autofree char *path = new_terminal(&master);

	g_assert_cmpint(stop_unused(&ignorant, path), ==, 0);
	g_assert_cmpuint(stopped, ==, 1);
	close(master);
}

static void test_mounted_disk_is_not(void)
{
	int master;
	g_autofree char *path = new_terminal(&master);

	claimed = path;
	g_assert_cmpint(stop_unused(&ignorant, path), ==, -EBUSY);
	g_assert_cmpuint(stopped, ==, 0);
	claimed = NULL;
	close(master);
}

/* Whether it is stopped while another process has @node open, and then. */
static void assert_spared_while_open(const char *disk, const char *node)
{
	pid_t pid = open_elsewhere(node);

	g_assert_cmpint(stop_unused(&ignorant, disk), ==, -EBUSY);
	g_assert_cmpuint(stopped, ==, 0);
	end_opener(pid);
	g_assert_cmpint(stop_unused(&ignorant, disk), ==, 0);
	g_assert_cmpuint(stopped, ==, 1);
}

static void test_open_disk_is_not(void)
{
	int master;
	g_autofree char *path = new_terminal(&master);

	assert_spared_while_open(path, path);
	close(master);
}

/* Another terminal is a partition of the first one. */
static void test_open_partition_is_not(void)
{
	int master, other;
	g_autofree char *path = new_terminal(&master), *part = new_terminal(&other);
	g_autofree char *folder = g_dir_make_tmp("control-stop-unused-XXXXXX", NULL);
	/* Below /dev, which is where nodes are. */
	g_autofree char *mark = g_strdup_printf("%s/%s/pts!%s/partition", folder,
						strrchr(path, '/') + 1, strrchr(part, '/') + 1);
	char *rm[] = { (char *)"rm", (char *)"-r", folder, NULL };

	disk_sysfs_folder = folder;
	g_assert_cmpint(g_mkdir_with_parents(mark, 0700), ==, 0);
	assert_spared_while_open(path, part);
	close(master);
	close(other);
	disk_sysfs_folder = sysfs;
	g_assert_true(g_spawn_sync(NULL, rm, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
				   NULL, NULL));
}

static void test_disk_that_cannot_be_opened_is_not(void)
{
	g_autofree char *folder = g_dir_make_tmp("control-stop-unused-XXXXXX", NULL);
	g_autofree char *mark = g_build_filename(folder, "nbd99999", NULL);

	g_assert_cmpint(stop_unused(&ignorant, "/dev/null/nbd99999"), ==, -EOPNOTSUPP);
	/* The disk is there, but not its node. */
	disk_sysfs_folder = folder;
	g_assert_cmpint(g_mkdir_with_parents(mark, 0700), ==, 0);
	g_assert_cmpint(stop_unused(&ignorant, "/dev/nbd99999"), ==, -EOPNOTSUPP);
	g_assert_cmpuint(stopped, ==, 0);
	g_assert_cmpint(rmdir(mark), ==, 0);
	/* There is no disk. */
	g_assert_cmpint(stop_unused(&ignorant, "/dev/nbd99999"), ==, 0);
	g_assert_cmpuint(stopped, ==, 1);
	disk_sysfs_folder = sysfs;
	g_assert_cmpint(rmdir(folder), ==, 0);
}

static void test_driver_that_knows_is_asked(void)
{
	int master;
	g_autofree char *path = new_terminal(&master);

	answer = -EBUSY;
	g_assert_cmpint(stop_unused(&knowing, path), ==, -EBUSY);
	answer = 0;
	g_assert_cmpint(stop_unused(&knowing, path), ==, 0);
	g_assert_cmpuint(stopped, ==, 0);
	/* An old kernel. */
	answer = -EOPNOTSUPP;
	g_assert_cmpint(stop_unused(&knowing, path), ==, 0);
	g_assert_cmpuint(stopped, ==, 1);
	close(master);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	sysfs = disk_sysfs_folder;
	g_test_add_func("/control/stop-unused/unused-disk-is-stopped", test_unused_disk_is_stopped);
	g_test_add_func("/control/stop-unused/mounted-disk-is-not", test_mounted_disk_is_not);
	g_test_add_func("/control/stop-unused/open-disk-is-not", test_open_disk_is_not);
	g_test_add_func("/control/stop-unused/open-partition-is-not", test_open_partition_is_not);
	g_test_add_func("/control/stop-unused/disk-that-cannot-be-opened-is-not",
			test_disk_that_cannot_be_opened_is_not);
	g_test_add_func("/control/stop-unused/driver-that-knows-is-asked",
			test_driver_that_knows_is_asked);
	return g_test_run();
}
