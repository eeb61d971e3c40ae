/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk, its partitions, and what device mapper and others have built on them. */
#ifndef UBD_DISK_TREE_H
#define UBD_DISK_TREE_H

#include <glib.h>

/* Tests have another folder. */
extern const char *disk_sysfs_folder;

/*
 * The names of all of them in sysfs, each behind what it is built on; the first one is that of
 * @disk, such as /dev/ublkb0. The caller unrefs the list.
 */
GPtrArray *disk_tree_find(const char *disk);

/* The path of a name's node; the caller frees it. */
char *disk_tree_node(const char *name);

#endif
