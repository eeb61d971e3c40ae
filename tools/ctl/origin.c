// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a descriptor refers to, by what only the kernel can say. That needs none of the drivers'
 * commands, which would need io_uring. Without /proc, nothing counts as ubd's, and without /sys no
 * disk of another driver as one of a server's.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctl.h"
#include "nbd_description.h"

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

static bool is_ubds(dev_t disk)
{
	unsigned wanted = block_major("ubd");

	return wanted && major(disk) == wanted;
}

/* ublk's have the numbers of all kinds of disks. */
static bool is_another_drivers(dev_t disk)
{
	g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u", major(disk), minor(disk));
	g_autofree char *link = g_file_read_link(path, NULL);
	g_autofree char *name = g_path_get_basename(link ?: "");
	struct nbd_description description;
	const struct transport_ops *driver;
	uint32_t id;

	driver = transport_by_name(name, &id);
	return driver == &transport_ublk ||
	       (driver == &transport_nbd && nbd_description_read(id, &description));
}

bool ctl_is_disk(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) &&
	       (is_ubds(st.st_rdev) || is_another_drivers(st.st_rdev));
}

/* No file with a path has such a name: a path begins with a slash. */
bool ctl_is_control(int fd)
{
	g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
	g_autofree char *name = g_file_read_link(path, NULL);

	return g_strcmp0(name, "anon_inode:[ubd-device]") == 0;
}
