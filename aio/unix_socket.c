// SPDX-License-Identifier: GPL-2.0-or-later
/* UNIX sockets; see unix_socket.h. */
#include "unix_socket.h"

#include <errno.h>
#include <glib.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_socket_address(const char *path, struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	*ret_address = address;
	return 0;
}

int unix_socket_new(int flags)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	return fd < 0 ? -errno : fd;
}

int unix_socket_new_private(int flags)
{
	int fd = unix_socket_new(flags), error;

	if (fd < 0 || fchmod(fd, 0600) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}
