/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Closes the descriptors that a process has no use for. */
#ifndef UBD_CLOSE_FDS_H
#define UBD_CLOSE_FDS_H

/*
 * Closes all from @first on but the @nr in @kept, which it sorts; each is less than INT_MAX, and
 * may be there several times, or not be open. 0 or -errno. No other thread may open or close any.
 */
int close_fds_from(int first, int *kept, unsigned nr);

#endif
