// SPDX-License-Identifier: GPL-2.0-or-later
/* Looks for a server in /proc; see ublk_server_pid.h. */
#include "ublk_server_pid.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

static bool has_it_as(int pid, int fd, const struct ublk_params *params)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", pid, fd);

	return fd >= 0 && is_char_node(AT_FDCWD, path, params);
}

/*
 * A server of many devices has thousands of files, and its keeper as many, so *@likely_fd comes
 * first; it is where the file was found then.
 */
static bool has_it_open(int pid, int *likely_fd, const struct ublk_params *params)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/fd", pid);
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	if (has_it_as(pid, *likely_fd, params))
		return true;
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		found = is_char_node(dirfd(dir), entry->d_name, params);
		if (found)
			*likely_fd = atoi(entry->d_name);
	}
	if (dir)
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

/*
 * The one that has it open, of the process with this number and its parent; 0: neither has. A
 * keeper begins with its server, which usually is the one.
 */
static int find_opener(struct ublk_device *device, int pid, const struct ublk_params *params)
{
	const int pids[] = { device->server_pid, pid, parent_of(pid) };

	for (unsigned i = 0; i < G_N_ELEMENTS(pids); i++)
		if (pids[i] > 0 && has_it_open(pids[i], &device->server_fd, params))
			return pids[i];
	return 0;
}

int ublk_server_pid(struct ublk_device *device, const struct ublk_dev_info *wire)
{
	struct ublk_params params = { .len = sizeof(params) };
	int pid = wire->ublksrv_pid, found = 0;

	if (pid < 0)
		return -1;
	if (pid > 0 && ublk_command(device, UBLK_GET_PARAMS, &params, sizeof(params), 0,
				    UBLK_LIMIT_SECONDS) == 0)
		found = find_opener(device, pid, &params);
	if (found)
		return found;
	/* The driver keeps the number of a server that has gone. */
	return wire->state == UBLK_S_LIVE ? 0 : -1;
}
