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
#include "error.h"
#include "journal.h"

/* How many messages may wait. */
#define MAX_WAITING   256
/*
 * How long report_flush() waits for them. On a very busy machine the thread may not run for
 * seconds, and the reason for an end must not be lost; if nobody reads the messages, this delays
 * the end.
 */
#define FLUSH_SECONDS 5

struct message {
	int priority;
	bool to_syslog;
	char *text;
	enum report_event event;
	char *device, *image; /* what it is about; or NULL */
};

/* From systemd-id128(1). Never change one: programs look for them. */
static const struct {
	const char *id;
	int priority;
	const char *name;
} events[] = {
	[REPORT_NO_EVENT] = { NULL, LOG_INFO, NULL },
	[REPORT_FAILED] = { "e651057afde04bd6a2a82d3ca852e999", LOG_ERR, "request-failed" },
	[REPORT_HELD] = { "a1711318327742f4a9412657dce7bb9e", LOG_ERR, "requests-held" },
	[REPORT_HELD_OVER] = { "195baf27304a40ec8d5cf58dc5ad031b", LOG_NOTICE,
			       "requests-no-longer-held" },
	[REPORT_LOST] = { "072b79971a7a4f9bad1cd3b716f4c7b4", LOG_ERR, "flush-failed" },
	[REPORT_CUT] = { "a2add7b5909e4c098613d9fe29a53105", LOG_ERR, "file-truncated" },
	[REPORT_DELETED] = { "d0f0eef243514d22a677ef3c10d5405a", LOG_ERR, "file-deleted" },
	[REPORT_SPACE_LOW] = { "91667d2697ef4598afb8a9ccea2fb438", LOG_WARNING, "space-low" },
	[REPORT_SPACE_ENOUGH] = { "4862a30f12e14d92a20ab60244126c7e", LOG_NOTICE, "space-enough" },
};

static bool verbose_wanted;
static bool use_syslog;
static bool has_thread;

static struct thread_lock guard = THREAD_LOCK_INIT;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static GQueue waiting GLOBAL_GUARDED_BY(guard) = G_QUEUE_INIT;
static bool is_writing GLOBAL_GUARDED_BY(guard); /* a message that waits no longer */
static unsigned lost GLOBAL_GUARDED_BY(guard);

/* Main thread only. */
static void (*watcher)(void *arg, const char *event, const struct report_subject *subject,
		       const char *message);
static void *watcher_arg;

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

/* Only after report_connect(). */
static bool send_to_journal(const struct message *message)
{
	const char priority[] = { '0' + message->priority, 0 };
	const struct journal_field fields[] = {
		{ "MESSAGE", message->text },
		{ "PRIORITY", priority },
		{ "SYSLOG_IDENTIFIER", "ubd-serve" },
		{ "MESSAGE_ID", events[message->event].id },
		{ "UBD_DEVICE", message->device },
		{ "UBD_IMAGE", message->image },
		{},
	};

	return journal_send(fields);
}

static void write_message(const struct message *message)
{
	g_autofree char *priority = NULL, *line = NULL;

	if (message->to_syslog) {
		syslog(message->priority, "%s", message->text);
		return;
	}
	if (send_to_journal(message))
		return;
	if (stderr_takes_priorities())
		priority = g_strdup_printf("<%d>", message->priority);
	line = g_strdup_printf("%subd-serve: %s\n", priority ?: "", message->text);
	write_to_stderr(line);
}

static void message_free(struct message *message)
{
	g_free(message->text);
	g_free(message->device);
	g_free(message->image);
	g_free(message);
}

/* ---- the thread ---- */

static struct message *lost_message(bool to_syslog) REQUIRES(guard)
{
	struct message *message = g_new(struct message, 1);

	*message = (struct message){
		.priority = LOG_NOTICE,
		.to_syslog = to_syslog,
		.text = g_strdup_printf("%u messages were lost: they could not be written in time",
					lost),
	};
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

void report_connect(void)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0 && is_journal(&st))
		journal_connect(JOURNAL_SOCKET);
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

static void pass_on(struct message *message)
{
	if (has_thread) {
		hand_over(message);
	} else {
		write_message(message);
		message_free(message);
	}
}

/* Names in it may be anybody's. */
static char *text_of(const char *format, va_list args) G_GNUC_PRINTF(1, 0);

static char *text_of(const char *format, va_list args)
{
	char *text = g_strdup_vprintf(format, args);

	error_one_line(text);
	return text;
}

static void report(int priority, const char *format, va_list args)
{
	struct message *message = g_new(struct message, 1);

	*message = (struct message){ .priority = priority,
				     .to_syslog = use_syslog,
				     .text = text_of(format, args) };
	pass_on(message);
}

void report_event(enum report_event event, const struct report_subject *subject, const char *format,
		  ...)
{
	struct message *message = g_new(struct message, 1);
	va_list args;

	va_start(args, format);
	*message = (struct message){
		.priority = events[event].priority,
		.to_syslog = use_syslog,
		.text = text_of(format, args),
		.event = event,
		.device = g_strdup(subject->device),
		.image = g_strdup(subject->image),
	};
	va_end(args);
	if (watcher)
		watcher(watcher_arg, events[event].name, subject, message->text);
	pass_on(message);
}

void report_watch(void (*fn)(void *arg, const char *event, const struct report_subject *subject,
			     const char *message),
		  void *arg)
{
	watcher = fn;
	watcher_arg = arg;
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
