/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk, its partitions, and devices built on them, for example by device mapper. */
#ifndef UBD_DISK_TREE_H
#define UBD_DISK_TREE_H

#include <glib.h>

/* Tests have another folder. */
extern const char *disk_sysfs_folder;

/*
 * The sysfs names of all of these, each after the device it is built on; the first is that of
 * @disk, such as /dev/ublkb0. The caller unrefs the list.
 */
GPtrArray *disk_tree_find(const char *disk);

/* The path of a name's node; the caller frees it. */
char *disk_tree_node(const char *name);

#endif
