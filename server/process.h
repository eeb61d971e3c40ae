/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the server does with its own process: becoming a daemon, and behaving as
 * a part of the way to a disk, where a wait for memory may be a wait for itself.
 *
 * In the order of a start: process_heed_signals(), daemon_begin(), process_be_io_flusher(),
 * process_shun_oom_killer(), process_forbid_core_dumps(), process_lock_memory(),
 * process_drop_privileges(), daemon_live(). All on the main thread; the threads it makes afterwards
 * inherit the rest.
 */
#ifndef UBD_PROCESS_H
#define UBD_PROCESS_H

#include <glib.h>

/*
 * SIGINT, SIGTERM and SIGHUP are to end the first process of a PID namespace, too, to which the
 * kernel delivers only those that it handles. Until they are blocked.
 */
void process_heed_signals(void);

/*
 * Goes on in a child; the parent waits in here and exits: 0 once the child has
 * called daemon_live(), 1 when the child ends before. A signal that ends the parent before that
 * ends the child.
 */
int daemon_begin(GError **err);

/* Lets go of terminal, folder and parent. Messages go to the system's log from now on. */
void daemon_live(void);

/*
 * Memory that this process needs is never made free by writing to a disk, for
 * the disk may be the one it serves. 0 or -errno.
 */
int process_be_io_flusher(void);

/* It is not the one to kill when there is no memory left. 0 or -errno. */
int process_shun_oom_killer(void);

/*
 * No core dump of this process is written, to a file or to a program, which may be on the disk that
 * it serves: the dump would wait for the disk, and whoever is to serve that next for the end of the
 * dump. Without privileges nobody but root can look into the process then. Behind
 * process_shun_oom_killer(), which needs its own files in /proc.
 */
void process_forbid_core_dumps(void);

/*
 * All memory, also what will be allocated, stays in RAM. Threads made from now on
 * get small stacks, for these are in RAM as a whole. 0 or -errno.
 */
int process_lock_memory(void);

/*
 * Drops every capability for good, for this thread and those it makes from now on:
 * all that a running server does, it does with file descriptors it has. It keeps its user, and with
 * uid 0 what belongs to root. 0 or -errno; 0 only once the kernel says that they are gone.
 */
int process_drop_privileges(void);

#endif
