// SPDX-License-Identifier: GPL-2.0-or-later
/* One connection over a UNIX socket with a path. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"

static bool set_address(struct sockaddr_un *address, const char *path, GError **err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (g_strlcpy(address->sun_path, path, sizeof(address->sun_path)) <
	    sizeof(address->sun_path))
		return true;
	g_set_error(err, UBD_ERROR, ENAMETOOLONG,
		    "%s: longer than the %zu bytes of a socket's path", path,
		    sizeof(address->sun_path) - 1);
	return false;
}

static int fail(int fd, const char *path, GError **err)
{
	g_set_error(err, UBD_ERROR, errno, "%s: %s", path, g_strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int ctl_socket_connect(const char *path, GError **err)
{
	struct sockaddr_un address;
	int fd;

	if (!set_address(&address, path, err))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(fd, path, err);
	return fd;
}

/* Nobody can connect before listen(), so the socket has its owner and mode in time. */
static int listen_at(const char *path, const struct ctl_owner *owner, GError **err)
{
	struct sockaddr_un address;
	int fd;

	if (!set_address(&address, path, err))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(fd, path, err);
	if (chmod(path, 0600) < 0 || lchown(path, owner->uid, owner->gid) < 0 ||
	    listen(fd, 1) < 0) {
		fail(fd, path, err);
		unlink(path);
		return -1;
	}
	return fd;
}

int ctl_socket_accept(const char *path, const struct ctl_owner *owner, GError **err)
{
	int listener = listen_at(path, owner, err);
	int fd;

	if (listener < 0)
		return -1;
	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		fail(-1, path, err);
	unlink(path);
	close(listener);
	return fd;
}
