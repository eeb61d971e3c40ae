// SPDX-License-Identifier: GPL-2.0-or-later
/* Looks for a server in /proc; see ublk_server_pid.h. */
#include "ublk_server_pid.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Waits for no file system. */
static bool is_char_node(int dir_fd, const char *name, const struct ublk_params *params)
{
	struct statx st;

	return statx(dir_fd, name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) == 0 &&
	       S_ISCHR(st.stx_mode) && st.stx_rdev_major == params->devt.char_major &&
	       st.stx_rdev_minor == params->devt.char_minor;
}

/* A server of many devices has thousands of files, so @likely_fd comes first. */
static bool has_it_open(int pid, int likely_fd, const struct ublk_params *params)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
	g_autofree char *likely = g_strdup_printf("%d", likely_fd);
	DIR *dir = opendir(path);
	struct dirent *entry;
	bool found;

	if (!dir)
		return false;
	found = likely_fd >= 0 && is_char_node(dirfd(dir), likely, params);
	while (!found && (entry = readdir(dir)))
		found = is_char_node(dirfd(dir), entry->d_name, params);
	closedir(dir);
	return found;
}

/* 0: there is none, or it is not known. */
static int parent_of(int pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
	g_autofree char *text = NULL;
	const char *rest;
	int parent;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	/* The program's name, which comes before it, may have any characters. */
	rest = strrchr(text, ')');
	return rest && sscanf(rest, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* The one that has it open, of the process with this number and its parent; 0: neither has. */
static int find_opener(int pid, int likely_fd, const struct ublk_params *params)
{
	int parent;

	if (has_it_open(pid, likely_fd, params))
		return pid;
	parent = parent_of(pid);
	return parent > 0 && has_it_open(parent, likely_fd, params) ? parent : 0;
}

int ublk_server_pid(struct ublk_device *device, const struct ublk_dev_info *wire)
{
	struct ublk_params params = { .len = sizeof(params) };
	int pid = wire->ublksrv_pid, found = 0;

	if (pid < 0)
		return -1;
	if (pid > 0 && ublk_command(device, UBLK_GET_PARAMS, &params, sizeof(params), 0,
				    UBLK_LIMIT_SECONDS) == 0)
		found = find_opener(pid, device->server_fd, &params);
	if (found)
		return found;
	/* The driver keeps the number of a server that has gone. */
	return wire->state == UBLK_S_LIVE ? 0 : -1;
}
