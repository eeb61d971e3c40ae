/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ends a test that hangs: if nobody has called watchdog_kick() for @seconds, it prints what the
 * test is doing and aborts the process.
 */
#ifndef UBD_TESTS_WATCHDOG_H
#define UBD_TESTS_WATCHDOG_H

/* On any machine: no test takes this long without progress. */
#define SECONDS_TO_HANG 600

/*
 * Prints `not ok` for a test with @name; NULL: the caller does that. @dump runs on the watchdog's
 * own thread and may find things changing.
 */
void watchdog_start(const char *name, unsigned seconds, void (*dump)(void *arg), void *arg);
/* Any thread. */
void watchdog_kick(void);
/* Until the next watchdog_start(). */
void watchdog_stop(void);

#endif
