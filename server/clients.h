/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's UNIX socket, and the clients that give commands (commands.h) on it: each connects,
 * sends one line with a JSON object, and gets one back.
 *
 * A coroutine listens, and each client has its own, so that none waits for another. What a client
 * can take is bounded: a line of 4 KiB, 2 seconds for sending it and 2 for taking the answer. Above
 * CLIENTS_MAX the next one waits in the socket's backlog. Main loop only.
 *
 * A client whose command may wait for long, such as for a server that does not answer, has no place
 * meanwhile, so that others are served. There are no more of them than WAITING_MAX.
 *
 * A client that asks for events gets a line for each one (report.h) until it disconnects or closes
 * its half. It must take each of them in 2 seconds, and is dropped if more than EVENTS_MAX wait.
 * There are no more of them than WATCHERS_MAX, which leaves places for others.
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
 * Makes a link by which others find @socket, the path that clients_new() was given. False with @err
 * set. Call clients_clean_folder() before clients_new(): once the socket has a listener again, the
 * link of a server that was killed leads to it, too, and nobody removes that.
 */
void clients_clean_folder(void);
bool clients_link_in_folder(struct clients *clients, const char *socket, GError **err);

/*
 * Serves clients from now on, whose commands work on @process, which the caller keeps. When one of
 * them asks the server to end, calls quit(arg). NULL is fine.
 */
void clients_start(struct clients *clients, const struct command_process *process,
		   void (*quit)(void *arg), void *arg);

/*
 * Removes the socket, and drops all clients but those whose command is running: they get an answer.
 * It does not wait. NULL is fine.
 */
void clients_stop(struct clients *clients);

/* Stops, and waits until the last client has gone. NULL is fine. */
void clients_co_free(struct clients *clients);

#endif
