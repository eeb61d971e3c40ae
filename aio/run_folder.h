/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folder in which the servers of a user have their sockets, so that others find them: /run/ubd
 * for root, $XDG_RUNTIME_DIR/ubd for other users, or $UBD_RUN_DIR. Any thread.
 */
#ifndef UBD_RUN_FOLDER_H
#define UBD_RUN_FOLDER_H

#include <glib.h>
#include <stdbool.h>

/*
 * The path of the folder, which the caller frees, after checking that the folder belongs to this
 * user and that nobody else can add, remove or replace files in it. @create: create it if
 * necessary. NULL with @err set: ENOENT if there is none.
 */
char *run_folder_find(bool create, GError **err);

/* The same check for any folder. 0, or -errno with @err set. */
int run_folder_check(const char *path, GError **err);

/* The file name of the socket of the process @pid. The caller frees it. */
char *run_folder_socket_name(int pid);

/* Whether @name is such a name; *ret_pid is the process. */
bool run_folder_is_socket_name(const char *name, int *ret_pid);

#endif
