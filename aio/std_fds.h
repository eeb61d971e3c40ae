/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors 0, 1 and 2, for a program that was started without them. */
#ifndef UBD_STD_FDS_H
#define UBD_STD_FDS_H

/*
 * Opens /dev/null, read-only, in place of each closed standard descriptor. Must come first in
 * main(): a file that was opened as descriptor 2, even an image, would receive the error messages.
 * A write to such a standard output fails with EBADF, as if it were still closed. Exits with status
 * 1 if /dev/null cannot be opened.
 */
void std_fds_open(void);

#endif
