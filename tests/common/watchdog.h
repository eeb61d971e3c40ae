/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ends a test that hangs: when nobody has called watchdog_kick() for @seconds,
 * what the test is doing is printed and the process aborts.
 */
#ifndef UBD_TESTS_WATCHDOG_H
#define UBD_TESTS_WATCHDOG_H

/* Whatever the machine: no test goes so long without progress. */
#define SECONDS_TO_HANG 600

/*
 * Of a test with @name `not ok` is printed; NULL: its caller will do so. @dump runs on the
 * watchdog's own thread and may find things in motion.
 */
void watchdog_start(const char *name, unsigned seconds, void (*dump)(void *arg), void *arg);
/* Any thread. */
void watchdog_kick(void);
/* Until the next watchdog_start(). */
void watchdog_stop(void);

#endif
