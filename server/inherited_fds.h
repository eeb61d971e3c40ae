/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors that this process was started with. What it has no use for, such as what a shell
 * left open, must not be in the hands of whoever takes the server over.
 */
#ifndef UBD_INHERITED_FDS_H
#define UBD_INHERITED_FDS_H

#include <glib.h>

/*
 * Closes all but the standard ones, @kept_fd (-1: none), and those that a word in @argv or the
 * image of one of @disks (struct options) names: nbd:fd:N, /dev/fd/N, /proc/self/fd/N. At the
 * start, when the process has nothing open itself.
 */
void inherited_fds_close(char *const *argv, const GPtrArray *disks, int kept_fd);

#endif
