/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What udev must know of a disk and no driver can tell it: a file beside the servers' sockets,
 * which the rules in udev/ import. It is there before the disk is, and stays as long: a server that
 * takes a device over finds it. Whoever deletes the device removes it while its number is still
 * taken; what a server leaves that was killed, the next disk of the number replaces. Any thread.
 */
#ifndef UBD_DISK_MARK_H
#define UBD_DISK_MARK_H

#include <glib.h>
#include <stdbool.h>

/*
 * @disk is a path, such as /dev/ublkb0. @name: for a link /dev/disk/by-id/ubd-NAME; NULL or one of
 * other characters than letters, digits and :_.@-: none. @no_probe: its content is not to be looked
 * at. What an earlier disk of the number has left is replaced. 0 or -errno with @err set.
 */
int disk_mark_write(const char *disk, const char *name, bool no_probe, GError **err);

/* Where it is; NULL: there is no folder for it. The caller frees it. */
char *disk_mark_path(const char *disk);

/* Once there is no such disk. */
void disk_mark_remove(const char *disk);

#endif
