/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The service manager that has started us: systemd, or another one with its protocol (sd_notify(3),
 * sd_listen_fds(3)). It is notified when the device is live, and keeps the control fd of a device
 * that outlives its server for the next server, which then needs no privileges to take over.
 * Without a service manager, these functions do nothing. `ubdctl upgrade` itself reports a server
 * that it has started; see NOTIFY_BY_STARTER (notify_socket.h). Main loop only.
 */
#ifndef UBD_SUPERVISOR_H
#define UBD_SUPERVISOR_H

#include <glib.h>

/*
 * The fd that was kept, or -1; the caller closes it. Call it once, before any other thread or
 * process is created: it removes the variables from the environment.
 */
int supervisor_take_fd(void);

/*
 * Creates the socket for messages. Later, in the sandbox, an abstract name cannot be reached.
 */
void supervisor_connect(void);

/* Ask the service manager to keep the fd for the next server, or to drop it. */
void supervisor_co_store_fd(int fd);
void supervisor_co_drop_fd(void);

/* Reports that the start is complete, with the text @status. */
void supervisor_co_ready(const char *status);

/* The interval at which it expects supervisor_co_alive() from then on, in microseconds; 0: never.
 */
guint64 supervisor_watchdog_us(void);
void supervisor_co_alive(void);

/* Reports that the server is stopping, which may take time. */
void supervisor_co_stopping(void);

#endif
