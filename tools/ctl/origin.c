// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a descriptor refers to, by what only the kernel can say. That needs none of ubd's commands,
 * which would need io_uring. Without /proc, nothing counts as ubd's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctl.h"

/* The major number of a driver's block devices; 0 if there is none. */
static unsigned block_major(const char *driver)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	bool is_block = false;

	if (!g_file_get_contents("/proc/devices", &text, NULL, NULL))
		return 0;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		char name[32];
		unsigned number;

		is_block |= strcmp(*line, "Block devices:") == 0;
		if (is_block && sscanf(*line, " %u %31s", &number, name) == 2 &&
		    strcmp(name, driver) == 0)
			return number;
	}
	return 0;
}

bool ctl_is_disk(int fd)
{
	unsigned wanted = block_major("ubd");
	struct stat st;

	return wanted && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && major(st.st_rdev) == wanted;
}

/* No file with a path has such a name: a path begins with a slash. */
bool ctl_is_control(int fd)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
	g_autofree char *name = g_file_read_link(path, NULL);

	return g_strcmp0(name, "anon_inode:[ubd-device]") == 0;
}
