/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes back dirty data of a disk's users, for drivers that do not. */
#ifndef UBD_DISK_WRITE_BACK_H
#define UBD_DISK_WRITE_BACK_H

/*
 * Writes back the page cache of @disk, such as /dev/ublkb0, and the file systems on it, on its
 * partitions and on device mapper devices built on them. Waits for the disk's server. If a file
 * system is mounted in a folder that this process may not enter, or the disk is in use but this
 * process sees no mount of it, for example because that is in another mount namespace, writes back
 * the file systems of all disks. Errors are ignored.
 */
void disk_write_back(const char *disk);

#endif
