// SPDX-License-Identifier: GPL-2.0-or-later
/* fsync() and syncfs(), which need no capability; see disk_write_back.h. */
#include "disk_write_back.h"

#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MOUNTS "/proc/self/mounts"

static bool is_on_disk(const char *source, const char *disk)
{
	size_t len = strlen(disk);

	return strncmp(source, disk, len) == 0 && (source[len] == '\0' || source[len] == 'p');
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

void disk_write_back(const char *disk)
{
	FILE *mounts = setmntent(MOUNTS, "re");
	struct mntent entry;
	bool is_hidden = false;
	char text[8192];

	while (mounts && getmntent_r(mounts, &entry, text, sizeof(text)))
		if (is_on_disk(entry.mnt_fsname, disk))
			is_hidden |= !sync_path(entry.mnt_dir, syncfs);
	if (mounts)
		endmntent(mounts);
	if (is_hidden)
		sync();
	sync_path(disk, fsync);
}
