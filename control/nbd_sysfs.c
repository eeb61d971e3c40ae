// SPDX-License-Identifier: GPL-2.0-or-later
/* The files of nbd devices in /sys/block; see nbd_sysfs.h. */
#include "nbd_sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The inode of its file in every /proc. */
#define INITIAL_PID_NAMESPACE 0xeffffffcU

static char *path_of(uint32_t id, const char *name)
{
	return g_strdup_printf("/sys/block/nbd%u/%s", id, name);
}

/* nbd.ko makes this file for each, and sysfs does not use the number of a file again. */
uint64_t nbd_connection(uint32_t id)
{
	g_autofree char *path = path_of(id, "pid");
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

char *nbd_attribute(uint32_t id, const char *name)
{
	g_autofree char *path = path_of(id, name);
	char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

static bool sees_all_processes(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == INITIAL_PID_NAMESPACE;
}

bool nbd_may_have_process(uint32_t id)
{
	g_autofree char *text = nbd_attribute(id, "pid");
	int pid = text ? atoi(text) : 0;

	return !sees_all_processes() || (pid > 0 && (kill(pid, 0) == 0 || errno != ESRCH));
}

void nbd_write_attribute(uint32_t id, const char *name, unsigned value)
{
	g_autofree char *path = path_of(id, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%u", value);
	close(fd);
}
