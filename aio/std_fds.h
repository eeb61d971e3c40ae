/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors 0, 1 and 2 of a program that was started without them. */
#ifndef UBD_STD_FDS_H
#define UBD_STD_FDS_H

/*
 * Opens /dev/null, read-only, in the place of each standard descriptor that is closed. The first
 * thing in main(): a file that got number 2 would receive the error messages, an image among them.
 * A write to such a standard output fails with EBADF, as if it were still closed. Ends the program
 * with status 1 when /dev/null cannot be opened.
 */
void std_fds_open(void);

#endif
