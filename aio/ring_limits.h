/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rings of loops can be used for; private to aio/. */
#ifndef UBD_RING_LIMITS_H
#define UBD_RING_LIMITS_H

#include <liburing.h>

/*
 * Limits a ring that is not enabled yet to what loops and their owners use. Anything else, such as
 * opening a file, is answered with -EACCES: filters of system calls do not see what a ring is asked
 * for. What was registered before stays. 0 or -errno.
 */
int ring_limit(struct io_uring *ring);

#endif
