/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that exist only while the server runs: its pid file, its socket, and the marks of its disks
 * for udev. Creating one only replaces a dead server's file, and removing one only
 * removes a file that this server created. Main thread only.
 */
#ifndef UBD_RUNFILE_H
#define UBD_RUNFILE_H

#include <glib.h>

struct runfile;

/*
 * Writes this process's number to @path, and locks the file (flock()) as long as it exists. A file
 * that is not a pid file, or that another process has locked, is refused and left as it is. NULL
 * with @err set. Free with runfile_remove().
 */
struct runfile *runfile_new_pid(const char *path, GError **err);

/*
 * Listens on the UNIX socket @path, to which only this user may connect. Replaces a socket on which
 * nobody listens, and nothing else. NULL with @err set. Free with runfile_remove().
 */
struct runfile *runfile_new_socket(const char *path, GError **err);

/*
 * A symbolic link to the socket @target, in a folder as described in run_folder.h. NULL with @err
 * set. Free with runfile_remove().
 */
struct runfile *runfile_new_link(const char *path, const char *target, GError **err);

/*
 * A file that another part of the program has created at @path; NULL: there is none. Free with
 * runfile_remove(), or with runfile_leave() if it stays.
 */
struct runfile *runfile_take(const char *path);

/*
 * Removes the sockets of servers that have died from a folder as described in run_folder.h, to
 * which nobody else can write.
 */
void runfile_clean_sockets(const char *folder);

/*
 * From now on, a separate process removes the files, with the current rights of this one. It
 * can do nothing else, and exits with this process. Call it while there is only one thread. 0 or
 * -errno with @err set.
 */
int runfile_begin_keeper(GError **err);

/* The open file, such as the listening socket; it still belongs to @file. */
int runfile_fd(const struct runfile *file);

/*
 * Removes the file, unless its name now belongs to something else, and frees @file. NULL is fine.
 */
void runfile_remove(struct runfile *file);

/* Frees @file, which stays where it is. NULL is fine. */
void runfile_leave(struct runfile *file);

#endif
