/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seccomp filter of a server, as libseccomp makes it.
 *
 * That takes a tenth of the time in which a server starts, so it is done when the server is built:
 * sandbox_calls_print.c prints the filter as an array, and sandbox_calls_built.c installs that.
 * Where what is built cannot be run, which meson finds out, sandbox_calls_late.c has the filter
 * made at each start.
 */
#ifndef UBD_SANDBOX_CALLS_H
#define UBD_SANDBOX_CALLS_H

#include <seccomp.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Not installed yet. @connects: to NBD servers; @self: the process that it is for. NULL: there is
 * no memory, or libseccomp does not know something. The caller releases it.
 */
scmp_filter_ctx sandbox_calls_new(bool connects, pid_t self);

#endif
