/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the server does to its own process: it becomes a daemon, and prepares for being on the path
 * to a disk, where a wait for memory may be a wait for itself.
 *
 * In the order of a start: process_heed_signals(), process_mark(), daemon_begin(),
 * process_be_io_flusher(), process_shun_oom_killer(), process_forbid_core_dumps(),
 * process_lock_memory(), process_drop_privileges(), daemon_live(). All on the main thread; threads
 * created afterwards inherit the rest.
 */
#ifndef UBD_PROCESS_H
#define UBD_PROCESS_H

#include <glib.h>
#include <stdbool.h>

/*
 * Makes SIGINT, SIGTERM and SIGHUP also end the first process of a PID namespace, to which the
 * kernel only delivers signals that it handles. Effective until they are blocked.
 */
void process_heed_signals(void);

/*
 * Marks this process, and those that it forks, by an "@" in place of the first character of its
 * name: systemd and others that end all processes, at shutdown and when they leave an initramfs,
 * leave processes of root alone that have it
 * (https://systemd.io/ROOT_STORAGE_DAEMONS).
 */
void process_mark(char **argv);

/*
 * Continues in a child. The parent waits in here and exits: with 0 once the child has called
 * daemon_live(), with 1 if the child ends before. A signal that ends the parent before that also
 * ends the child.
 */
int daemon_begin(GError **err);
/*
 * The same again, after the process has become another user: then the kernel forgets that the end
 * of the parent ends it. Does nothing if it is not a daemon. Main thread.
 */
void daemon_follow_parent(void);

/*
 * Detaches from terminal, folder and parent. Messages go to the system log from now on; with
 * @keeps_stderr, they stay on standard error, for a daemon that cannot reach the system log.
 */
void daemon_live(bool keeps_stderr);

/*
 * Memory for this process is never reclaimed by writing to a disk, because that may be the disk
 * that it serves. 0 or -errno.
 */
int process_be_io_flusher(void);

/* Tells the OOM killer not to choose this process. 0 or -errno. */
int process_shun_oom_killer(void);

/*
 * Disables core dumps of this process, to a file or to a program. Either may be on the disk that it
 * serves: the dump would wait for the disk, and the disk's next server for the end of the dump. It
 * also means that only root can inspect the process once it has no privileges. After
 * process_shun_oom_killer(), which needs the process's own files in /proc.
 */
void process_forbid_core_dumps(void);
/* As many open files as the hard limit allows. */
void process_raise_file_limit(void);

/*
 * Locks the code of the program and of its libraries into RAM, and all other memory, current and
 * future, as it is touched. Threads created from now on get small stacks. 0 or -errno.
 */
int process_lock_memory(void);

/* Gives memory to the part of the calling thread's stack that it may need. */
void process_touch_stack(void);

/* Whether the process has CAP_SYS_ADMIN, or may raise it. 0 or -errno. */
int process_may_have_admin(bool *ret_may);

/*
 * Drops every capability for good, for this thread and threads that it creates from now on: a
 * running server only needs file descriptors that it already has. It keeps its user, and with uid 0
 * everything that belongs to root. 0 or -errno; 0 only once the kernel confirms that they are gone.
 */
int process_drop_privileges(void);

/* What a keeper (keeper.h) does not need. 0 or -errno. */
int process_limit_keeper(void);

#endif
