/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket of the service manager that started this process, as for sd_notify(3). Any thread. */
#ifndef UBD_NOTIFY_SOCKET_H
#define UBD_NOTIFY_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

/*
 * Its address, from NOTIFY_SOCKET in the environment. -ENOENT: there is none. -ENAMETOOLONG: the
 * name does not fit.
 */
int notify_socket_address(struct sockaddr_un *ret_address, socklen_t *ret_bytes);

/*
 * ubdctl upgrade sets this in the environment of a server that replaces another one: a service
 * manager may not accept messages from the server before ubdctl has told it that the server
 * is now the main process. Therefore ubdctl reports that the server is ready, and the server's
 * first message is a keep-alive.
 */
#define NOTIFY_BY_STARTER "UBD_NOTIFY_BY_STARTER"

#endif
