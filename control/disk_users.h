/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What uses a disk. */
#ifndef UBD_DISK_USERS_H
#define UBD_DISK_USERS_H

/*
 * The users of @disk, such as /dev/ubdb0, of its partitions and of what is built on them, for
 * people: "mounted on /mnt, used by dm-0 (vg-home), open in PID 7, cat". Mounts count in all
 * namespaces that this process may look into, and the process itself does not. The caller frees the
 * text; NULL: this process sees none. Any thread; it waits for no disk.
 */
char *disk_users(const char *disk);

#endif
