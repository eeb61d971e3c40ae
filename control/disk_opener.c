// SPDX-License-Identifier: GPL-2.0-or-later
/* Looks for open nodes in /proc; see disk_opener.h. */
#include "disk_opener.h"

#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process_name.h"

const char *disk_proc_folder = "/proc";

/* Waits for no file system. */
static bool get_status(const char *path, struct statx *ret_st)
{
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, ret_st) == 0 &&
	       (S_ISBLK(ret_st->stx_mode) || S_ISCHR(ret_st->stx_mode));
}

static bool is_same_device(const struct statx *one, const struct statx *other)
{
	return (one->stx_mode & S_IFMT) == (other->stx_mode & S_IFMT) &&
	       one->stx_rdev_major == other->stx_rdev_major &&
	       one->stx_rdev_minor == other->stx_rdev_minor;
}

static bool is_among(const GArray *devices, const struct statx *st)
{
	for (guint i = 0; i < devices->len; i++)
		if (is_same_device(&g_array_index(devices, struct statx, i), st))
			return true;
	return false;
}

static bool has_open(const char *process, const GArray *devices)
{
	g_autofree char *folder = g_build_filename(disk_proc_folder, process, "fd", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		struct statx st;

		if (get_status(path, &st) && is_among(devices, &st))
			return true;
	}
	return false;
}

/* The caller unrefs the list. */
static GArray *find_devices(const GPtrArray *paths)
{
	GArray *devices = g_array_new(FALSE, FALSE, sizeof(struct statx));
	struct statx st;

	for (guint i = 0; i < paths->len; i++)
		if (get_status(paths->pdata[i], &st))
			g_array_append_val(devices, st);
	return devices;
}

GPtrArray *disk_openers(const GPtrArray *paths)
{
	GPtrArray *openers = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GArray) devices = find_devices(paths);
	g_autoptr(GDir) proc = g_dir_open(disk_proc_folder, 0, NULL);
	g_autofree char *self = g_strdup_printf("%d", getpid());
	const char *name;

	while (devices->len && proc && (name = g_dir_read_name(proc)))
		if (g_ascii_isdigit(*name) && strcmp(name, self) != 0 && has_open(name, devices))
			g_ptr_array_add(openers, process_name(name));
	return openers;
}

char *disk_opener(const char *path)
{
	g_autoptr(GPtrArray) paths = g_ptr_array_new(), openers = NULL;

	g_ptr_array_add(paths, (char *)path);
	openers = disk_openers(paths);
	return openers->len ? g_strdup(openers->pdata[0]) : NULL;
}
