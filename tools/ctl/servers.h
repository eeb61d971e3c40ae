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

struct server {
	char *socket;
	const char *command;
	json_t *status; /* its answer to `status`, or to another command that says as much */
};

/* An empty list of them, and one for it, which owns @socket and @status from now on. */
GPtrArray *servers_new(void);
struct server *server_new(char *socket, const char *command, json_t *status);

/* All of them, struct server *. The caller unrefs the list. */
GPtrArray *servers_find(void);
/* The same with the answers to @command, which is `status` or `stats`. */
GPtrArray *servers_ask(const char *command);

/* Asks the server that is this process to let requests that it holds fail, if it can be asked. */
void servers_fail_held(int pid);

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
