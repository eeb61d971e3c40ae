/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Properties of a disk that udev needs but no driver can provide: a file next to the servers'
 * sockets, which the rules in udev/ import. It exists before the disk, and as long as the disk,
 * even if another server takes over. The process that deletes the device removes the file while the
 * number is still taken; the next disk with the number replaces a killed server's file. Any thread.
 */
#ifndef UBD_DISK_MARK_H
#define UBD_DISK_MARK_H

#include <glib.h>
#include <stdbool.h>

/*
 * @disk is a path, such as /dev/ublkb0. @name: for a link /dev/disk/by-id/ubd-NAME; no link if it
 * is NULL or has characters other than letters, digits and :_.@-. @no_probe: udev must not examine
 * the contents. Replaces the file of an earlier disk with the number. 0 or -errno with @err set.
 */
int disk_mark_write(const char *disk, const char *name, bool no_probe, GError **err);

/* The path of the file; NULL: there is no folder for it. The caller frees it. */
char *disk_mark_path(const char *disk);

/* Call it when the disk no longer exists. */
void disk_mark_remove(const char *disk);

#endif
