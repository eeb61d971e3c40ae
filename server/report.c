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
#include <sys/sysmacros.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "colock.h"

/* How many messages may wait, and how long report_flush() waits for them. */
#define MAX_WAITING   256
#define FLUSH_SECONDS 1

struct message {
	int priority;
	bool to_syslog;
	char *text;
};

static bool verbose_wanted;
static bool use_syslog;
static bool has_thread;

static struct thread_lock guard = THREAD_LOCK_INIT;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static GQueue waiting GLOBAL_GUARDED_BY(guard) = G_QUEUE_INIT;
static bool is_writing GLOBAL_GUARDED_BY(guard); /* a message that waits no longer */
static unsigned lost GLOBAL_GUARDED_BY(guard);

void report_init(bool verbose)
{
	verbose_wanted = verbose;
}

/* ---- where they go ---- */

static bool is_kernel_log(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 11);
}

static bool is_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;

	return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 && st->st_dev == dev &&
	       st->st_ino == ino;
}

/* Whether standard error goes to /dev/kmsg, or to the journal (systemd.exec(5)). */
static bool stderr_takes_priorities(void)
{
	struct stat st;

	return fstat(STDERR_FILENO, &st) == 0 && (is_kernel_log(&st) || is_journal(&st));
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
	if (stderr_takes_priorities())
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

static struct message *lost_message(bool to_syslog) REQUIRES(guard)
{
	struct message *message = g_new(struct message, 1);

	*message = (struct message){ LOG_NOTICE, to_syslog,
				     g_strdup_printf("%u messages were lost: they could not be "
						     "written in time",
						     lost) };
	lost = 0;
	return message;
}

/* That messages were lost goes where the last one before them went. */
static struct message *next_message(bool to_syslog) REQUIRES(guard)
{
	while (g_queue_is_empty(&waiting) && !lost)
		pthread_cond_wait(&changed, &guard.mutex);
	return g_queue_pop_head(&waiting) ?: lost_message(to_syslog);
}

static void *report_thread(void *unused)
{
	bool to_syslog = false;

	pthread_setname_np(pthread_self(), "ubd-report");
	thread_lock(&guard);
	for (;;) {
		struct message *message = next_message(to_syslog);

		to_syslog = message->to_syslog;
		is_writing = true;
		thread_unlock(&guard);
		write_message(message);
		message_free(message);
		thread_lock(&guard);
		is_writing = false;
		pthread_cond_broadcast(&changed);
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
	struct timespec end;

	if (!has_thread)
		return;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += FLUSH_SECONDS;
	thread_lock(&guard);
	while (!g_queue_is_empty(&waiting) || lost || is_writing)
		if (pthread_cond_clockwait(&changed, &guard.mutex, CLOCK_MONOTONIC, &end))
			break;
	thread_unlock(&guard);
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
	thread_lock(&guard);
	/* Once one is lost, all are until that is said, so that it is said in its place. */
	if (!lost && g_queue_get_length(&waiting) < MAX_WAITING) {
		g_queue_push_tail(&waiting, message);
	} else {
		lost++;
		message_free(message);
	}
	pthread_cond_broadcast(&changed);
	thread_unlock(&guard);
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
