/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What uses a disk. */
#ifndef UBD_DISK_USERS_H
#define UBD_DISK_USERS_H

/*
 * The users of @disk, such as /dev/ubdb0, of its partitions and of devices built on them, for
 * messages: "mounted on /mnt, used by dm-0 (vg-home), open in PID 7, cat". Includes mounts in all
 * namespaces that this process may inspect, but not the process itself. The caller frees the
 * text; NULL: this process sees none. Any thread; waits for no disk.
 */
char *disk_users(const char *disk);

#endif
