// SPDX-License-Identifier: GPL-2.0-or-later
/* Which file systems are written back before a disk goes, with mounts that the test makes up. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_tree.h"
#include "disk_write_back.h"

/* Of the disk, at last. */
#define FSYNCS "fsync /dev/nbd1p2;fsync /dev/nbd1;"

static const char *mounts; /* as in /proc/self/mounts */
static const char *hidden; /* a folder that this process may not open */
static bool claimed;	   /* by the kernel */
static GString *done;	   /* what was written back, in its order */
static const char *last;   /* that was opened */

FILE *__wrap_setmntent(const char *name, const char *mode);
int __wrap_open64(const char *name, int flags, ...);
int __wrap_stat64(const char *name, struct stat *ret_st);
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
	if (claimed && flags & O_EXCL) {
		errno = EBUSY;
		return -1;
	}
	g_free((char *)last);
	last = g_strdup(name);
	return dup(STDERR_FILENO);
}

/* One node has two names. */
int __wrap_stat64(const char *name, struct stat *ret_st)
{
	*ret_st = (struct stat){ .st_mode = S_IFBLK, .st_rdev = g_str_hash(name) };
	if (strcmp(name, "/dev/mapper/secret") == 0)
		ret_st->st_rdev = g_str_hash("/dev/dm-0");
	return 0;
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
	assert_written("syncfs /a;syncfs /c d;" FSYNCS);
}

static void test_hidden_ones_with_all_others(void)
{
	mounts = "/dev/nbd1 /home/user/disk ext4 rw 0 0\n"
		 "/dev/nbd1p2 /c ext4 rw 0 0\n";
	hidden = "/home/user/disk";
	assert_written("syncfs /c;sync;" FSYNCS);
}

static void test_hidden_ones_of_others_do_not_count(void)
{
	mounts = "/dev/nbd2 /home/user/disk ext4 rw 0 0\n";
	hidden = "/home/user/disk";
	assert_written(FSYNCS);
}

static void make_folder(const char *path)
{
	g_autofree char *whole = g_build_filename(disk_sysfs_folder, path, NULL);

	g_assert_cmpint(g_mkdir_with_parents(whole, 0700), ==, 0);
}

/* A file system on an encrypted partition, beside a volume that is not mounted. */
static void test_what_is_built_on_it(void)
{
	make_folder("nbd1p2/holders/dm-0");
	make_folder("dm-0/holders/dm-1");
	make_folder("dm-1/holders");
	mounts = "/dev/mapper/secret /a ext4 rw 0 0\n"
		 "/dev/mapper/other /b ext4 rw 0 0\n";
	hidden = NULL;
	assert_written("syncfs /a;fsync /dev/dm-1;fsync /dev/dm-0;" FSYNCS);
}

static void test_what_is_mounted_elsewhere(void)
{
	mounts = "/dev/nbd2 /a ext4 rw 0 0\n";
	hidden = NULL;
	claimed = true;
	assert_written("sync;" FSYNCS);
	/* It is claimed because of this one. */
	mounts = "/dev/nbd1 /a ext4 rw 0 0\n";
	assert_written("syncfs /a;" FSYNCS);
	claimed = false;
}

static const struct test {
	const char *name;
	void (*fn)(void);
} all[] = {
	{ "of-the-disk-and-its-partitions", test_of_the_disk_and_its_partitions },
	{ "hidden-ones-with-all-others", test_hidden_ones_with_all_others },
	{ "hidden-ones-of-others-do-not-count", test_hidden_ones_of_others_do_not_count },
	{ "what-is-built-on-it", test_what_is_built_on_it },
	{ "what-is-mounted-elsewhere", test_what_is_mounted_elsewhere },
};

/* The disk has one partition, and each test its own /sys. */
static void run(gconstpointer test)
{
	g_autofree char *folder = g_dir_make_tmp("control-disk-write-back-XXXXXX", NULL);
	char *argv[] = { (char *)"rm", (char *)"-r", folder, NULL };

	disk_sysfs_folder = folder;
	make_folder("nbd1/holders");
	make_folder("nbd1/nbd1p2/partition");
	make_folder("nbd1p2/holders");
	((const struct test *)test)->fn();
	g_assert_true(g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
				   NULL, NULL));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
		g_autofree char *path = g_strdup_printf("/control/disk-write-back/%s", all[i].name);

		g_test_add_data_func(path, &all[i], run);
	}
	return g_test_run();
}
