/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rings can be used for: those of loops, and control/command_ring.h. */
#ifndef UBD_RING_LIMITS_H
#define UBD_RING_LIMITS_H

#include <liburing.h>

/*
 * Limits a ring that is not enabled yet (IORING_SETUP_R_DISABLED) to @uses, a sum of enum ring_use
 * (aio.h). Anything else, such as opening a file, is answered with -EACCES: filters of system calls
 * do not see what a ring is asked for. Nobody can lift that. What was registered before stays. 0 or
 * -errno.
 */
int ring_limit(struct io_uring *ring, unsigned uses);

/* It can be used from now on; if it has a single issuer, by this thread. 0 or -errno. */
int ring_enable(struct io_uring *ring);

#endif
