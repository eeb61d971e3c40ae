/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restrictions of rings: those of loops, and control/command_ring.h. */
#ifndef UBD_RING_LIMITS_H
#define UBD_RING_LIMITS_H

#include <liburing.h>

/*
 * Limits a ring that is not enabled yet (IORING_SETUP_R_DISABLED) to @uses, a bitwise OR of enum
 * ring_use (aio.h). Everything else, such as opening a file, fails with -EACCES: system call
 * filters do not see the operations submitted to a ring. The restriction is permanent. Earlier
 * registrations stay. 0 or -errno.
 */
int ring_limit(struct io_uring *ring, unsigned uses);

/* Enables the ring; if it has a single issuer, that is this thread. 0 or -errno. */
int ring_enable(struct io_uring *ring);

#endif
