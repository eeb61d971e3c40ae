// SPDX-License-Identifier: GPL-2.0-or-later
/* What uses a disk, with /sys and /proc that the test makes up. Character devices stand in for
 * disks. */
#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_opener.h"
#include "disk_tree.h"
#include "disk_users.h"

/* Devices that each system has, and their numbers. */
#define DISK   "null"	/* 1:3, of which "zero" (1:5) is a partition */
#define HOLDER "full"	/* 1:7 */
#define OTHER  "random" /* 1:8 */

static char *root;

G_GNUC_PRINTF(2, 3) static void make_file(const char *path, const char *format, ...)
{
	g_autofree char *whole = g_build_filename(root, path, NULL), *text = NULL;
	g_autofree char *folder = g_path_get_dirname(whole);
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
	g_assert_true(g_file_set_contents(whole, text, -1, NULL));
}

static void make_link(const char *path, const char *target)
{
	g_autofree char *whole = g_build_filename(root, path, NULL);
	g_autofree char *folder = g_path_get_dirname(whole);

	g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
	g_assert_cmpint(symlink(target, whole), ==, 0);
}

char *__wrap_process_name(const char *process);

char *__wrap_process_name(const char *process)
{
	return g_strdup_printf("PID %s, cat", process);
}

static void assert_users(const char *wanted)
{
	g_autofree char *found = disk_users("/dev/" DISK);

	g_assert_cmpstr(found, ==, wanted);
}

static void test_nobody(void)
{
	make_file("proc/self/mountinfo", "22 1 1:8 / /other rw - ext4 /dev/" OTHER " rw\n");
	make_file("proc/swaps", "Filename Type\n/dev/" OTHER " partition 1 0 -2\n");
	make_link("proc/7/fd/0", "/dev/" OTHER);
	make_link("proc/7/fd/1", "/nowhere");
	assert_users(NULL);
}

static void test_mounts(void)
{
	make_file("proc/self/mountinfo",
		  "22 1 1:3 / /a\\040b rw,noatime shared:1 - ext4 /dev/" DISK " rw\n"
		  "23 1 1:3 /sub /a\\040b/sub rw - ext4 /dev/" DISK " rw\n"
		  "24 1 1:5 / /part rw shared:2 master:1 - xfs /dev/zero rw\n"
		  "25 1 0:40 / /btrfs rw - btrfs /dev/zero rw\n"
		  "26 1 0:41 / /proc rw - proc proc rw\n"
		  "27 1 1:3 bad\n");
	assert_users("mounted on /a b, mounted on /a b/sub, mounted on /part, mounted on /btrfs");
}

static void test_mounts_of_other_namespaces(void)
{
	make_link("proc/self/ns/mnt", "mnt:[1]");
	make_file("proc/self/mountinfo", "22 1 1:8 / / rw - ext4 x rw\n");
	/* Of the same namespace, but it does not say so. */
	make_link("proc/5/ns/mnt", "mnt:[1]");
	make_file("proc/5/mountinfo", "22 1 1:3 / /not-read rw - ext4 x rw\n");
	make_link("proc/6/ns/mnt", "mnt:[2]");
	make_file("proc/6/mountinfo", "22 1 1:3 / /there rw - ext4 x rw\n");
	assert_users("mounted on /there");
}

static void test_swap(void)
{
	make_file("proc/swaps", "Filename\t\tType\n/dev/zero\tpartition\t1\t0\t-2\n");
	assert_users("swap on /dev/zero");
}

static void test_holders(void)
{
	make_file("sys/zero/holders/" HOLDER, "%s", "");
	make_file("sys/" HOLDER "/dev", "1:7\n");
	assert_users("used by " HOLDER);
	make_file("sys/" HOLDER "/dm/name", "vg-home\n");
	make_file("proc/self/mountinfo", "22 1 1:7 / /home rw - ext4 /dev/mapper/x rw\n");
	assert_users("mounted on /home, used by " HOLDER " (vg-home)");
}

static void test_processes(void)
{
	g_autofree char *found = NULL;
	g_auto(GStrv) parts = NULL;

	make_link("proc/7/fd/0", "/dev/zero");
	make_link("proc/7/fd/1", "/dev/" DISK);
	assert_users("open in PID 7, cat");
	for (unsigned i = 10; i < 20; i++) {
		g_autofree char *path = g_strdup_printf("proc/%u/fd/0", i);

		make_link(path, "/dev/" DISK);
	}
	found = disk_users("/dev/" DISK);
	g_assert_true(g_str_has_suffix(found, ", open in other processes"));
	parts = g_strsplit(found, "open in ", -1);
	g_assert_cmpuint(g_strv_length(parts), ==, 1 + 8 + 1);
}

static const struct test {
	const char *name;
	void (*fn)(void);
} all[] = {
	{ "nobody", test_nobody },
	{ "mounts", test_mounts },
	{ "mounts-of-other-namespaces", test_mounts_of_other_namespaces },
	{ "swap", test_swap },
	{ "holders", test_holders },
	{ "processes", test_processes },
};

static void run(gconstpointer test)
{
	g_autofree char *sys = NULL, *proc = NULL;
	char *argv[] = { (char *)"rm", (char *)"-r", NULL, NULL };

	argv[2] = root = g_dir_make_tmp("control-disk-users-XXXXXX", NULL);
	disk_sysfs_folder = sys = g_build_filename(root, "sys", NULL);
	disk_proc_folder = proc = g_build_filename(root, "proc", NULL);
	make_file("sys/" DISK "/dev", "1:3\n");
	make_file("sys/" DISK "/zero/partition", "1\n");
	make_file("sys/zero/partition", "1\n");
	make_file("sys/zero/dev", "1:5\n");
	make_file("proc/version", "%s", "");
	((const struct test *)test)->fn();
	g_assert_true(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
				   NULL, NULL));
	g_free(root);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
		g_autofree char *path = g_strdup_printf("/control/disk-users/%s", all[i].name);

		g_test_add_data_func(path, &all[i], run);
	}
	return g_test_run();
}
