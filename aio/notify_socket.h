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

/*
 * Set in the environment of a server that replaces another one, by ubdctl upgrade: a service
 * manager may not take messages from the server before it has learned, from ubdctl, that the server
 * is the main process now. So ubdctl reports that it is ready, and the server begins with a sign of
 * life.
 */
#define NOTIFY_BY_STARTER "UBD_NOTIFY_BY_STARTER"

#endif
