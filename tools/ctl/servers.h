/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The servers of this user that can be asked, and what they say of themselves. That is believed
 * only for what is shown; and it comes from a process of this user, as the kernel says.
 */
#ifndef UBD_CTL_SERVERS_H
#define UBD_CTL_SERVERS_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "image.h"

/* A disk that a server has: it may have several. */
struct server {
	char *socket;
	const char *command;
	json_t *status; /* its answer to @command, or what that has about the disk */
};

/* An empty list of them. The caller unrefs it. */
GPtrArray *servers_new(void);
/* Adds the disks about which a server at @socket has answered, one or several. */
void servers_add(GPtrArray *disks, const char *socket, const char *command, json_t *answer);

/* All disks of all servers, struct server *. The caller unrefs the list. */
GPtrArray *servers_find(void);
/* A process that has a socket. */
struct asked_server {
	int pid;
	bool is_up; /* otherwise it does not respond */
};

/*
 * The same with the answers to @command, which is `status` or `stats`. @ret_asked, if given, gets a
 * struct asked_server for each process; otherwise a warning tells of those that do not respond.
 */
GPtrArray *servers_ask(const char *command, GArray *ret_asked);

/* The sockets of all servers that have, or may have, several disks. The caller unrefs the list. */
GPtrArray *servers_find_adding(void);

/*
 * Asks the server that is this process to let requests to the device fail that it holds, if it can
 * be asked.
 */
void servers_fail_held(int pid, const char *device);

/* As what it serves: "/dev/ubdb0", or the name of an export. */
const char *server_name(const struct server *server);
bool server_is_export(const struct server *server);
int server_pid(const struct server *server);
uint64_t server_size(const struct server *server);
/* Whether its image, or the base of its temporary overlay, is that file. */
bool server_has_file(const struct server *server, const struct file_id *id);
/*
 * The name of its image, where the server runs, and whether writes go to an overlay. The caller
 * frees it.
 */
char *server_image(const struct server *server);
/* Lines about the image, and members of @object. */
void server_print_image(const struct server *server);
void server_add_image(const struct server *server, json_t *object);

/* The first one that serves as @name; @pid > 0: and is this process. NULL: none. */
const struct server *servers_by_name(const GPtrArray *servers, const char *name, int pid);

#endif
