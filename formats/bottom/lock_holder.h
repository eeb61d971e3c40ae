/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who holds a lock on a file, if the kernel tells. */
#ifndef UBD_LOCK_HOLDER_H
#define UBD_LOCK_HOLDER_H

#include <sys/types.h>

/*
 * The process that has locked byte @off of the file through another file description than @fd,
 * which must hold a lock itself: "PID 123, qemu-io". NULL if none is found: only root sees
 * processes of other users. The caller frees it. Reads all of /proc, so use it only for errors, on
 * a worker.
 */
char *lock_holder(int fd, off_t off);

#endif
