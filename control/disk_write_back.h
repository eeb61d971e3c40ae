/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing back what the users of a disk still have in memory, for drivers that do not. */
#ifndef UBD_DISK_WRITE_BACK_H
#define UBD_DISK_WRITE_BACK_H

/*
 * Writes back the page cache of @disk, such as /dev/ublkb0, and the file systems on it and its
 * partitions that are mounted where this process sees them. Waits for the disk's server. If one of
 * them is in a folder that this process may not enter, writes back the file systems of all disks.
 * What cannot be written is left as it is.
 */
void disk_write_back(const char *disk);

#endif
