/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which process serves an nbd device: nbd.ko does not know, as it only has sockets. The server
 * holds the lock of a FIFO in /run/ubd, which ends with it, however that happens. A byte in the
 * FIFO asks it to leave. And its mode tells whether somebody stops the device, or it has ended: to
 * nbd.ko, one that somebody has open looks as if it was still connected.
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
 * Makes this process the server, without waiting. The descriptor belongs to the caller, who closes
 * it with nbd_server_file_close(); that, or closing a copy of it, gives the lock back. -EBUSY
 * without an error: there is a server, which may be this process. Any thread, as all functions.
 */
int nbd_server_file_take(uint32_t id, GError **err);
/* Also of a descriptor that another process has passed on. */
void nbd_server_file_close(int fd);

/*
 * From process to process: one gives the lock back and passes a copy of the descriptor on, and the
 * other one takes it. < 0 with @err set: a third one has been faster. The first one does not take
 * the file again before it has closed it. The copy may be closed with close().
 */
void nbd_server_file_unlock(int fd);
int nbd_server_file_lock(uint32_t id, int fd, GError **err);

/* Notes that somebody stops the device and waits for its server; and whether somebody does. */
void nbd_server_file_stop(uint32_t id);
bool nbd_server_file_is_stopping(uint32_t id);

/* Notes that the device has ended, until nbd_server_file_take(); and whether it has. */
void nbd_server_file_end(uint32_t id);
bool nbd_server_file_has_ended(uint32_t id);

/* Whether this process may not know which devices have a server. */
bool nbd_servers_are_hidden(void);

/* The process that has the lock; 0: in another PID namespace; -1: none. */
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
