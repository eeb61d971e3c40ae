/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's UNIX socket, and its clients, which send commands (commands.h): each connects,
 * sends one line with a JSON object, and gets one back.
 *
 * A coroutine listens, and each client has its own, so that none waits for another. Each client is
 * limited to a line of 4 KiB, 2 seconds for sending it and 2 for reading the answer. At most
 * CLIENTS_MAX are served; further ones wait in the socket's backlog. Main loop only.
 *
 * A client whose command may take long, for example if it waits for another server, does not count
 * toward this limit. There are at most WAITING_MAX of these.
 *
 * A client that asks for events gets a line for each one (report.h) until it disconnects or closes
 * its half. It must read each line within 2 seconds, and is dropped if more than EVENTS_MAX are
 * pending. There are at most WATCHERS_MAX of these, so that other clients can be served.
 */
#ifndef UBD_CLIENTS_H
#define UBD_CLIENTS_H

#include <glib.h>

#include "commands.h"

#define CLIENTS_MAX  16
#define WATCHERS_MAX 8
#define WAITING_MAX  256
#define EVENTS_MAX   64

struct clients;

/*
 * Listens on the socket @path, which is created as described in runfile.h. NULL with @err set on
 * failure. Free it with clients_co_free().
 */
struct clients *clients_new(const char *path, GError **err);

/* The same on a socket by which others find this process; see run_folder.h. */
struct clients *clients_new_in_folder(GError **err);

/*
 * Creates a link by which others find @socket, the path given to clients_new(). False with @err
 * set. Call clients_clean_folder() before clients_new(): once the socket has a listener again, a
 * killed server's stale link also leads to it and would never be removed.
 */
void clients_clean_folder(void);
bool clients_link_in_folder(struct clients *clients, const char *socket, GError **err);

/*
 * Starts to serve clients, whose commands work on @process, which the caller keeps. Calls quit(arg)
 * when a client asks the server to quit. NULL is fine.
 */
void clients_start(struct clients *clients, const struct command_process *process,
		   void (*quit)(void *arg), void *arg);

/*
 * Removes the socket, and drops all clients except those whose command is running, which still get
 * an answer. Does not wait. NULL is fine.
 */
void clients_stop(struct clients *clients);

/* Stops, and waits until the last client has gone. NULL is fine. */
void clients_co_free(struct clients *clients);

#endif
