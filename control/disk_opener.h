/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which process has a device open. */
#ifndef UBD_DISK_OPENER_H
#define UBD_DISK_OPENER_H

#include <glib.h>

/* Tests have another folder. */
extern const char *disk_proc_folder;

/*
 * Another process that has the device of the node @path open, as "PID 7, name", which the caller
 * frees. NULL: none that this process may inspect.
 */
char *disk_opener(const char *path);

/* All processes that have one of several nodes open. The caller unrefs the list. */
GPtrArray *disk_openers(const GPtrArray *paths);

#endif
