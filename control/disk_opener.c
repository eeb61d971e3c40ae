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

static bool has_open(const char *process, const struct statx *device)
{
	g_autofree char *folder = g_build_filename("/proc", process, "fd", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);
		struct statx st;

		if (get_status(path, &st) && is_same_device(&st, device))
			return true;
	}
	return false;
}

char *disk_opener(const char *path)
{
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	g_autofree char *self = g_strdup_printf("%d", getpid());
	struct statx device;
	const char *name;

	if (!get_status(path, &device))
		return NULL;
	while (proc && (name = g_dir_read_name(proc)))
		if (g_ascii_isdigit(*name) && strcmp(name, self) != 0 && has_open(name, &device))
			return process_name(name);
	return NULL;
}
