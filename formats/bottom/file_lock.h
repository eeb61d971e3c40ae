/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks, understood by QEMU and by us.
 *
 * A user of an image declares with byte locks on the image file what it does with it (permissions,
 * bytes 100 and up) and what others must not do (bytes 200 and up). Both kinds are shared locks, so
 * that any number of users may hold them; a newcomer looks for a holder of the opposite byte. They
 * are open file description locks: they are released when the file is closed, even by a crash.
 */
#ifndef UBD_FILE_LOCK_H
#define UBD_FILE_LOCK_H

#include <sys/types.h>

/* The numbers are byte offsets in the file, an ABI shared with QEMU. */
enum file_lock_perm {
	FILE_LOCK_CONSISTENT_READ = 1 << 0,
	FILE_LOCK_WRITE = 1 << 1,
	FILE_LOCK_WRITE_UNCHANGED = 1 << 2,
	FILE_LOCK_RESIZE = 1 << 3,
	FILE_LOCK_ALL = (1 << 4) - 1,
};

/*
 * Locks @fd for use with @perms, while nobody else may have @unshared. The file must be open for
 * reading. -EBUSY if this conflicts with another user, which has byte *ret_off locked; -ENOLCK if
 * the file system does not support locks. After a failure, close the file.
 */
int file_lock(int fd, unsigned perms, unsigned unshared, off_t *ret_off);

/*
 * Releases the locks before the file is closed: its description may live on for a moment in
 * io_uring, or in a child, and the next program to open the image must not be refused because of
 * that.
 */
void file_unlock(int fd);

#endif
