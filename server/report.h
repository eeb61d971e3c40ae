/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's log messages: lines on standard error, or in the system log once it is a
 * daemon. In the journal, they also have fields. Main thread only, so that no request ever
 * waits for a terminal.
 */
#ifndef UBD_REPORT_H
#define UBD_REPORT_H

#include <glib.h>
#include <stdbool.h>

void report_init(bool verbose);

/*
 * From now on, a thread writes the messages. A full pipe that nobody reads, a stopped terminal or a
 * hung system log would otherwise block the main thread forever, and with it the signals that
 * end the server. Call this when these signals are blocked and no longer end the process at once.
 * If too many messages are pending, further ones are lost, and a message tells how many.
 */
void report_begin(void);
/* Waits until all messages are written, for up to a second. */
void report_flush(void);

/* From now on to syslog(3). */
void report_to_syslog(void);

/* From now on also to the journal's own socket, with fields, if standard error is the journal. */
void report_connect(void);

/* Events for programs; each has a MESSAGE_ID, which docs/ubd-serve.8 lists. */
enum report_event {
	REPORT_NO_EVENT,
	REPORT_FAILED,
	REPORT_HELD,
	REPORT_HELD_OVER,
	REPORT_LOST,
	REPORT_CUT,
	REPORT_DELETED,
	REPORT_SPACE_LOW,
	REPORT_SPACE_ENOUGH,
};

/* The subject of a message; NULL: unknown. */
struct report_subject {
	const char *device, *image;
};

/*
 * From now on, calls fn() with each event and its message; NULL: no longer. The name is as
 * in that list, with hyphens.
 */
void report_watch(void (*fn)(void *arg, const char *event, const struct report_subject *subject,
			     const char *message),
		  void *arg);

/* Reports an error or, for events that end a problem, a note. One line, as below. */
void report_event(enum report_event event, const struct report_subject *subject, const char *format,
		  ...) G_GNUC_PRINTF(3, 4);

/* One line, without a newline. */
void report_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Important, but not a failure. */
void report_note(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Only with --verbose. */
void report_verbose(const char *format, ...) G_GNUC_PRINTF(1, 2);

#endif
