/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records which process serves an nbd device: nbd.ko does not know, because it only has sockets.
 * The server holds the lock of a FIFO in /run/ubd, which it loses however it ends. A byte in the
 * FIFO asks it to leave. The FIFO's mode tells whether the device is being stopped, waits for a
 * server, or has ended: in nbd.ko, a device that is still open looks as if it were connected.
 */
#ifndef UBD_NBD_SERVER_FILE_H
#define UBD_NBD_SERVER_FILE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Tests have another folder. */
extern const char *nbd_server_folder;

/*
 * Makes this process the server, without waiting. The descriptor belongs to the caller, which
 * closes it with nbd_server_file_close(); that, or closing a copy of it, releases the lock. -EBUSY
 * without @err set: there is a server, which may be this process. Any thread, as all functions.
 */
int nbd_server_file_take(uint32_t id, GError **err);
/* Also for a descriptor that another process has passed on. */
void nbd_server_file_close(int fd);

/*
 * Handover between processes: one releases the lock and passes on a copy of the descriptor, and the
 * other takes the lock. < 0 with @err set: a third process was faster. The first process must not
 * take the file again before it has closed it. The copy may be closed with close().
 */
void nbd_server_file_unlock(int fd);
int nbd_server_file_lock(uint32_t id, int fd, GError **err);

/* Records, and tells, whether the device is being stopped, which waits for its server. */
void nbd_server_file_stop(uint32_t id);
bool nbd_server_file_is_stopping(uint32_t id);

/* Records, until nbd_server_file_take(), and tells whether the device has ended. */
void nbd_server_file_end(uint32_t id);
bool nbd_server_file_has_ended(uint32_t id);

/*
 * Records that the device is served, or that it waits for its next server from now on, unless it is
 * being stopped or has ended.
 */
void nbd_server_file_live(uint32_t id);
void nbd_server_file_wait(uint32_t id);
/* For how many seconds it has waited; -1 if it does not wait. */
int64_t nbd_server_file_waited(uint32_t id);

/* Whether this process cannot find out which devices have a server. */
bool nbd_servers_are_hidden(void);

/* The process that holds the lock; 0: in another PID namespace; -1: none. */
pid_t nbd_server_pid(uint32_t id);

/*
 * Asks the server to leave, if there is one, waits until it has, and then takes the lock, too. If
 * another process is faster, it is asked to leave in its turn.
 */
int nbd_server_file_take_over(uint32_t id, GError **err);

/*
 * Asks the server to leave, if there is one, and waits until it has; the next one may have come by
 * then. Not for a process that is a server itself. 0 or -errno.
 */
int nbd_server_file_ask(uint32_t id);

/* Whether the server that has this descriptor is asked to leave. */
bool nbd_server_must_leave(int fd);

#endif
