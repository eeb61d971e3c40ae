// SPDX-License-Identifier: GPL-2.0-or-later
/* Where a service manager listens; see notify_socket.h. */
#include "notify_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "unix_socket.h"

int notify_socket_address(struct sockaddr_un *ret_address, socklen_t *ret_bytes)
{
	const char *path = getenv("NOTIFY_SOCKET");
	int res;

	if (!path || !*path)
		return -ENOENT;
	res = unix_socket_address(path, ret_address);
	if (res < 0)
		return res;
	*ret_bytes = offsetof(struct sockaddr_un, sun_path) + strlen(path);
	/* The abstract namespace. */
	if (*path == '@')
		ret_address->sun_path[0] = 0;
	return 0;
}
