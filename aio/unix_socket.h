/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UNIX sockets: their addresses, and sockets that only their owner can connect to. Any thread. */
#ifndef UBD_UNIX_SOCKET_H
#define UBD_UNIX_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

/* The address of a socket at @path. -ENAMETOOLONG if it has no room for it. */
int unix_socket_address(const char *path, struct sockaddr_un *ret_address);

/* A stream socket; @flags: SOCK_NONBLOCK or 0. It is closed on exec(). Its descriptor or -errno. */
int unix_socket_new(int flags);

/*
 * The same, with mode 0600 when it gets its name: a socket takes its mode from its descriptor. So
 * nobody else can connect, not even before the first look at it.
 */
int unix_socket_new_private(int flags);

#endif
