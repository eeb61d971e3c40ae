// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages to people; see report.h.
 *
 * From report_begin() on, a thread writes them. A bounded list lies between it and the main thread.
 */
#include "report.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

/* How many messages may wait, and how long report_flush() waits for them. */
#define MAX_WAITING 256
#define FLUSH_US    G_USEC_PER_SEC

struct message {
	int priority;
	bool to_syslog;
	char *text;
};

static bool verbose_wanted;
static bool use_syslog;
static bool has_thread;

static GMutex lock;
static GCond changed;
/* Guarded by lock. */
static GQueue waiting = G_QUEUE_INIT;
static bool is_writing; /* a message that waits no longer */
static unsigned lost;

void report_init(bool verbose)
{
	verbose_wanted = verbose;
}

/* ---- where they go ---- */

/* Whether standard error goes to the journal, where lines begin with a priority (systemd.exec(5)).
 */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* Not by stdio, nor dprintf(): exit() would write what is left in their buffers, and hang, too. */
static void write_to_stderr(const char *text)
{
	while (*text) {
		ssize_t written = write(STDERR_FILENO, text, strlen(text));

		if (written >= 0)
			text += written;
		else if (errno != EINTR)
			return;
	}
}

static void write_message(const struct message *message)
{
	g_autofree char *priority = NULL, *line = NULL;

	if (message->to_syslog) {
		syslog(message->priority, "%s", message->text);
		return;
	}
	if (stderr_is_journal())
		priority = g_strdup_printf("<%d>", message->priority);
	line = g_strdup_printf("%subd-serve: %s\n", priority ?: "", message->text);
	write_to_stderr(line);
}

static void message_free(struct message *message)
{
	g_free(message->text);
	g_free(message);
}

/* ---- the thread ---- */

static struct message *lost_message(void)
{
	struct message *message = g_new(struct message, 1);

	*message = (struct message){ LOG_NOTICE, use_syslog,
				     g_strdup_printf("%u messages were lost: they could not be "
						     "written in time",
						     lost) };
	lost = 0;
	return message;
}

static struct message *next_message(void)
{
	while (g_queue_is_empty(&waiting) && !lost)
		g_cond_wait(&changed, &lock);
	return g_queue_pop_head(&waiting) ?: lost_message();
}

static void *report_thread(void *unused)
{
	pthread_setname_np(pthread_self(), "ubd-report");
	g_mutex_lock(&lock);
	for (;;) {
		struct message *message = next_message();

		is_writing = true;
		g_mutex_unlock(&lock);
		write_message(message);
		message_free(message);
		g_mutex_lock(&lock);
		is_writing = false;
		g_cond_broadcast(&changed);
	}
	return NULL;
}

void report_begin(void)
{
	pthread_t thread;

	/* Without it, messages are written as before. */
	has_thread = pthread_create(&thread, NULL, report_thread, NULL) == 0;
	if (has_thread)
		pthread_detach(thread);
}

void report_flush(void)
{
	gint64 end = g_get_monotonic_time() + FLUSH_US;

	g_mutex_lock(&lock);
	while (has_thread && (!g_queue_is_empty(&waiting) || lost || is_writing) &&
	       g_cond_wait_until(&changed, &lock, end))
		;
	g_mutex_unlock(&lock);
}

void report_to_syslog(void)
{
	/* Standard error is closed next. */
	report_flush();
	openlog("ubd-serve", LOG_PID, LOG_DAEMON);
	use_syslog = true;
}

/* ---- messages ---- */

static void hand_over(struct message *message)
{
	g_mutex_lock(&lock);
	if (g_queue_get_length(&waiting) < MAX_WAITING) {
		g_queue_push_tail(&waiting, message);
	} else {
		lost++;
		message_free(message);
	}
	g_cond_broadcast(&changed);
	g_mutex_unlock(&lock);
}

static void report(int priority, const char *format, va_list args)
{
	struct message *message = g_new(struct message, 1);

	*message = (struct message){ priority, use_syslog, g_strdup_vprintf(format, args) };
	if (has_thread) {
		hand_over(message);
	} else {
		write_message(message);
		message_free(message);
	}
}

void report_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(LOG_ERR, format, args);
	va_end(args);
}

void report_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report(LOG_NOTICE, format, args);
	va_end(args);
}

void report_verbose(const char *format, ...)
{
	va_list args;

	if (!verbose_wanted)
		return;
	va_start(args, format);
	report(LOG_INFO, format, args);
	va_end(args);
}
