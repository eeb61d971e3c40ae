/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing back what the users of a disk still have in memory, for drivers that do not. */
#ifndef UBD_DISK_WRITE_BACK_H
#define UBD_DISK_WRITE_BACK_H

/*
 * Writes back the page cache of @disk, such as /dev/ublkb0, and the file systems on it, on its
 * partitions and on what device mapper has built on them. Waits for the disk's server. If one is
 * mounted in a folder that this process may not enter, or the disk is in use but this process sees
 * no mount of it, as when that is in another mount namespace, writes back the file systems of all
 * disks. What cannot be written is left as it is.
 */
void disk_write_back(const char *disk);

#endif
