// SPDX-License-Identifier: GPL-2.0-or-later
/* The folder for sockets; see run_folder.h. */
#include "run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define ROOT_FOLDER "/run/ubd"

/* NULL: this user has none. */
static char *folder_path(void)
{
	const char *given = g_getenv("UBD_RUN_DIR"), *runtime = g_getenv("XDG_RUNTIME_DIR");

	if (given && *given)
		return g_strdup(given);
	if (geteuid() == 0)
		return g_strdup(ROOT_FOLDER);
	return runtime && *runtime ? g_build_filename(runtime, "ubd", NULL) : NULL;
}

/* In a folder that others can write to, a socket may be anybody's. */
int run_folder_check(const char *path, GError **err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), res = 0;
	struct stat st;

	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	if (fstat(fd, &st) < 0)
		res = error_set(err, -errno, "%s", path);
	else if (st.st_uid != geteuid())
		res = error_refuse(err, -EPERM, "%s: it belongs to user %u, not to user %u", path,
				   st.st_uid, geteuid());
	else if (st.st_mode & (S_IWGRP | S_IWOTH))
		res = error_refuse(err, -EPERM, "%s: other users can write to it", path);
	close(fd);
	return res;
}

char *run_folder_find(bool create, GError **err)
{
	g_autofree char *path = folder_path();

	if (!path) {
		error_refuse(err, -ENOENT, "XDG_RUNTIME_DIR is not set");
		return NULL;
	}
	/* If that fails, run_folder_check() says why. */
	if (create)
		mkdir(path, 0700);
	return run_folder_check(path, err) < 0 ? NULL : g_steal_pointer(&path);
}

char *run_folder_socket_name(int pid)
{
	return g_strdup_printf("%d.sock", pid);
}

bool run_folder_is_socket_name(const char *name, int *ret_pid)
{
	g_autofree char *same = NULL;

	if (sscanf(name, "%d", ret_pid) != 1 || *ret_pid <= 0)
		return false;
	same = run_folder_socket_name(*ret_pid);
	return strcmp(name, same) == 0;
}
