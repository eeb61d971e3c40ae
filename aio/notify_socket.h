/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket of the service manager that started this process, as for sd_notify(3). Any thread. */
#ifndef UBD_NOTIFY_SOCKET_H
#define UBD_NOTIFY_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

/*
 * Its address, as NOTIFY_SOCKET in the environment says. -ENOENT: there is none. -ENAMETOOLONG: it
 * has no room for the name.
 */
int notify_socket_address(struct sockaddr_un *ret_address, socklen_t *ret_bytes);

#endif
