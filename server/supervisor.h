/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The service manager that has started us, systemd or another one with its protocol (sd_notify(3),
 * sd_listen_fds(3)): it learns when the device is live, and keeps the control fd of a device that
 * outlives its server for the next one, which then needs no privilege to take over. Without one
 * nothing is done. Main thread only.
 */
#ifndef UBD_SUPERVISOR_H
#define UBD_SUPERVISOR_H

#include <glib.h>

/*
 * The fd that was kept, or -1; the caller closes it. Once, before any other thread or process is
 * made: what comes from the environment is taken out of it.
 */
int supervisor_take_fd(void);

/* Keep it for the next server; and no more. */
void supervisor_store_fd(int fd);
void supervisor_drop_fd(void);

/* The start is done. @status is for people. */
void supervisor_ready(const char *status);

/* How often it wants to hear supervisor_alive() from then on, microseconds; 0: never. */
guint64 supervisor_watchdog_us(void);
void supervisor_alive(void);

/* The end has begun, and takes its time. */
void supervisor_stopping(void);

#endif
