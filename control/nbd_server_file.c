// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lock is one of fcntl(2), which tells the process that has it. As such locks belong to a
 * process, the server opens the file only once.
 */
#include "nbd_server_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

const char *nbd_server_folder = "/run/ubd";

static char *path_of(uint32_t id)
{
	return g_strdup_printf("%s/nbd%u", nbd_server_folder, id);
}

static int open_file(uint32_t id, GError **err)
{
	g_autofree char *path = path_of(id);
	struct stat st;
	int fd;

	/* As run_folder_find() makes it: the sockets in it are for one user. */
	if (mkdir(nbd_server_folder, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s", nbd_server_folder);
	if (mkfifo(path, 0600) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s", path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		return fd;
	close(fd);
	return error_refuse(err, -EEXIST, "%s: not a FIFO; remove it", path);
}

static int lock(int fd, int command)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int res;

	do {
		res = fcntl(fd, command, &whole);
	} while (res < 0 && errno == EINTR);
	if (res == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

/* What asked an earlier server to leave. */
static void drain(int fd)
{
	char bytes[64];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

static int take(uint32_t id, bool wait, GError **err)
{
	int fd = open_file(id, err), res;

	if (fd < 0)
		return fd;
	res = lock(fd, F_SETLK);
	if (res == -EBUSY && wait)
		res = write(fd, "", 1) < 0 && errno != EAGAIN ? -errno : lock(fd, F_SETLKW);
	if (res == 0) {
		drain(fd);
		return fd;
	}
	close(fd);
	if (res != -EBUSY)
		error_set(err, res, "%s/nbd%u", nbd_server_folder, id);
	return res;
}

int nbd_server_file_take(uint32_t id, GError **err)
{
	return take(id, false, err);
}

int nbd_server_file_take_over(uint32_t id, GError **err)
{
	return take(id, true, err);
}

pid_t nbd_server_pid(uint32_t id)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	g_autofree char *path = path_of(id);
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	int res;

	if (fd < 0)
		return -1;
	res = fcntl(fd, F_GETLK, &whole);
	close(fd);
	return res < 0 || whole.l_type == F_UNLCK ? -1 : whole.l_pid;
}

bool nbd_server_must_leave(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1 && wait.revents & POLLIN;
}
