/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings that keep the rights of a process that is about to drop them, for one kind of use. */
#ifndef UBD_KEPT_RING_H
#define UBD_KEPT_RING_H

#include <liburing.h>

/*
 * Makes a ring whose requests, if they name the personality that is returned, have the rights that
 * this process has now. All that the ring can do, whoever takes over the process, is @op on @fd,
 * which is its fixed file 0. The caller may close @fd.
 *
 * @flags: IORING_SETUP_*. Returns the personality, or -errno with nothing left behind.
 */
int kept_ring_init(struct io_uring *ring, unsigned entries, unsigned flags, int fd, unsigned op);

#endif
