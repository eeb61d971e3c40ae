/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who holds a lock on a file, where the kernel tells. */
#ifndef UBD_LOCK_HOLDER_H
#define UBD_LOCK_HOLDER_H

#include <sys/types.h>

/*
 * The process that has byte @off of the file locked by another file description than @fd, which
 * must hold a lock itself: "PID 123, qemu-io". NULL where none is found: processes of other users
 * are seen by root only. The caller frees it. Reads all of /proc: for errors, on a worker.
 */
char *lock_holder(int fd, off_t off);

#endif
