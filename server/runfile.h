/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that exist only while the server runs: its pid file and its socket. Making one destroys
 * nothing but what a dead server left there, and removing one removes only what this server made.
 * Main thread only.
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
 * Listens at the UNIX socket @path, which only this user may connect to. Replaces a socket that
 * nobody listens at, and nothing else. NULL with @err set. Free with runfile_remove().
 */
struct runfile *runfile_new_socket(const char *path, GError **err);

/* The open file, such as the socket that listens; it stays @file's. */
int runfile_fd(const struct runfile *file);

/* Removes the file, unless something else has its name by now, and frees @file. NULL is fine. */
void runfile_remove(struct runfile *file);

#endif
