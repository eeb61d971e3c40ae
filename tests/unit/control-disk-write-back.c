// SPDX-License-Identifier: GPL-2.0-or-later
/* Which file systems are written back before a disk goes, with mounts that the test makes up. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk_write_back.h"

static const char *mounts; /* as in /proc/self/mounts */
static const char *hidden; /* a folder that this process may not open */
static GString *done;	   /* what was written back, in its order */
static const char *last;   /* that was opened */

FILE *__wrap_setmntent(const char *name, const char *mode);
int __wrap_open64(const char *name, int flags, ...);
int __wrap_syncfs(int fd);
int __wrap_fsync(int fd);
void __wrap_sync(void);

FILE *__wrap_setmntent(const char *name, const char *mode)
{
	g_assert_cmpstr(name, ==, "/proc/self/mounts");
	return fmemopen((char *)mounts, strlen(mounts), "r");
}

int __wrap_open64(const char *name, int flags, ...)
{
	if (g_strcmp0(name, hidden) == 0) {
		errno = EACCES;
		return -1;
	}
	g_free((char *)last);
	last = g_strdup(name);
	return dup(STDERR_FILENO);
}

int __wrap_syncfs(int fd)
{
	g_string_append_printf(done, "syncfs %s;", last);
	return 0;
}

int __wrap_fsync(int fd)
{
	g_string_append_printf(done, "fsync %s;", last);
	return 0;
}

void __wrap_sync(void)
{
	g_string_append(done, "sync;");
}

static void assert_written(const char *wanted)
{
	done = g_string_new(NULL);
	disk_write_back("/dev/nbd1");
	g_assert_cmpstr(done->str, ==, wanted);
	g_string_free(done, TRUE);
}

static void test_of_the_disk_and_its_partitions(void)
{
	mounts = "/dev/nbd1 /a ext4 rw 0 0\n"
		 "/dev/nbd10 /b ext4 rw 0 0\n"
		 "/dev/nbd1p2 /c\\040d xfs rw 0 0\n"
		 "proc /proc proc rw 0 0\n";
	hidden = NULL;
	assert_written("syncfs /a;syncfs /c d;fsync /dev/nbd1;");
}

static void test_hidden_ones_with_all_others(void)
{
	mounts = "/dev/nbd1 /home/user/disk ext4 rw 0 0\n"
		 "/dev/nbd1p2 /c ext4 rw 0 0\n";
	hidden = "/home/user/disk";
	assert_written("syncfs /c;sync;fsync /dev/nbd1;");
}

static void test_hidden_ones_of_others_do_not_count(void)
{
	mounts = "/dev/nbd2 /home/user/disk ext4 rw 0 0\n";
	hidden = "/home/user/disk";
	assert_written("fsync /dev/nbd1;");
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/disk-write-back/of-the-disk-and-its-partitions",
			test_of_the_disk_and_its_partitions);
	g_test_add_func("/control/disk-write-back/hidden-ones-with-all-others",
			test_hidden_ones_with_all_others);
	g_test_add_func("/control/disk-write-back/hidden-ones-of-others-do-not-count",
			test_hidden_ones_of_others_do_not_count);
	return g_test_run();
}
