// SPDX-License-Identifier: GPL-2.0-or-later
/* fsync() and syncfs(), which need no capability; see disk_write_back.h. */
#include "disk_write_back.h"

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

#define MOUNTS "/proc/self/mounts"

/* ---- the disk, and what is on it ---- */

/* Their nodes, in the same order. The caller unrefs the list. */
static GPtrArray *find_nodes(const char *disk)
{
	g_autoptr(GPtrArray) names = disk_tree_find(disk);
	GPtrArray *nodes = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < names->len; i++)
		g_ptr_array_add(nodes, disk_tree_node(names->pdata[i]));
	return nodes;
}

/* ---- what is mounted ---- */

static bool is_same_node(const char *one, const char *other)
{
	struct stat st, other_st;

	return strcmp(one, other) == 0 ||
	       (stat(one, &st) == 0 && stat(other, &other_st) == 0 && S_ISBLK(st.st_mode) &&
		S_ISBLK(other_st.st_mode) && st.st_rdev == other_st.st_rdev);
}

/* Device mapper's disks are mounted by other names than their nodes'. */
static bool is_among(const GPtrArray *nodes, const char *source)
{
	for (guint i = 0; i < nodes->len; i++)
		if (is_same_node(nodes->pdata[i], source))
			return true;
	return false;
}

/* False: this process may not open it, or it has gone. */
static bool sync_path(const char *path, int (*sync_fd)(int fd))
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	sync_fd(fd);
	close(fd);
	return true;
}

/*
 * Whether the kernel uses the disk or a partition, as mounted file systems do. True if this process
 * may not find out.
 */
static bool is_claimed(const char *disk)
{
	int fd = open(disk, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return errno == EBUSY || errno == EACCES || errno == EPERM;
	close(fd);
	return false;
}

/* False: there may be one that was not written back. */
static bool sync_mounted(const GPtrArray *nodes)
{
	FILE *mounts = setmntent(MOUNTS, "re");
	bool is_seen = false, is_hidden = false;
	struct mntent entry;
	char text[8192];

	while (mounts && getmntent_r(mounts, &entry, text, sizeof(text))) {
		if (!g_str_has_prefix(entry.mnt_fsname, "/dev/") ||
		    !is_among(nodes, entry.mnt_fsname))
			continue;
		is_seen = true;
		is_hidden |= !sync_path(entry.mnt_dir, syncfs);
	}
	if (mounts)
		endmntent(mounts);
	return is_seen ? !is_hidden : !is_claimed(nodes->pdata[0]);
}

void disk_write_back(const char *disk)
{
	g_autoptr(GPtrArray) nodes = find_nodes(disk);

	if (!sync_mounted(nodes))
		sync();
	for (guint i = nodes->len; i-- > 0;)
		sync_path(nodes->pdata[i], fsync);
}
