/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors that this process was started with. What it has no use for, such as what a shell
 * left open, must not be in the hands of whoever takes the server over.
 */
#ifndef UBD_INHERITED_FDS_H
#define UBD_INHERITED_FDS_H

/*
 * Closes all but the standard ones, @kept, and those that an argument in @argv names: nbd:fd:N,
 * /dev/fd/N, /proc/self/fd/N. -1 as @kept: none. At the start, when the process has opened nothing
 * itself.
 */
void inherited_fds_close(char *const *argv, int kept);

#endif
