// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages when nobody reads standard error: the main thread does not wait. */
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

/* Far more than can wait. */
#define MESSAGES 1000

static int own_stderr;
static int pipe_fds[2];

static void take_stderr(void)
{
	g_assert_cmpint(pipe2(pipe_fds, O_CLOEXEC), ==, 0);
	own_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
}

static void restore_stderr(void)
{
	dup2(own_stderr, STDERR_FILENO);
	close(own_stderr);
}

static void fill_pipe(void)
{
	static const char line[] = "fill\n";

	fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK);
	while (write(pipe_fds[1], line, strlen(line)) > 0)
		;
	fcntl(pipe_fds[1], F_SETFL, 0);
}

/* The next line, except those that filled the pipe; false: there are no more. */
static bool next_line(FILE *lines, char *line, size_t size)
{
	do {
		if (!fgets(line, size, lines))
			return false;
	} while (strcmp(line, "fill\n") == 0);
	return true;
}

static void test_at_once(void)
{
	char line[100] = "";
	FILE *lines;

	take_stderr();
	report_init(false);
	report_verbose("not wanted");
	report_error("one %d", 1);
	report_note("two");
	restore_stderr();
	close(pipe_fds[1]);
	lines = fdopen(pipe_fds[0], "r");
	g_assert_true(next_line(lines, line, sizeof(line)));
	g_assert_cmpstr(line, ==, "ubd-serve: one 1\n");
	g_assert_true(next_line(lines, line, sizeof(line)));
	g_assert_cmpstr(line, ==, "ubd-serve: two\n");
	g_assert_false(next_line(lines, line, sizeof(line)));
	fclose(lines);
}

/* A name is not a second message. */
static void test_one_line(void)
{
	char line[100] = "";
	FILE *lines;

	take_stderr();
	report_error("no\nubd-serve: %s\033[2J", "all is well\r");
	restore_stderr();
	close(pipe_fds[1]);
	lines = fdopen(pipe_fds[0], "r");
	g_assert_true(next_line(lines, line, sizeof(line)));
	g_assert_cmpstr(line, ==, "ubd-serve: no?ubd-serve: all is well??[2J\n");
	g_assert_false(next_line(lines, line, sizeof(line)));
	fclose(lines);
}

/* In its own process. */
static void end_while_nobody_reads(void)
{
	take_stderr();
	fill_pipe();
	report_begin();
	report_note("never read");
	/* It gives up; the thread is writing now. */
	report_flush();
	exit(42);
}

static void test_end_while_nobody_reads(void)
{
	pid_t child = fork();
	int status;

	if (!child)
		end_while_nobody_reads();
	g_assert_cmpint(waitpid(child, &status, 0), ==, child);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 42);
}

static void test_nobody_reads(void)
{
	unsigned number, expected = 0, lost = 0;
	char line[100];
	FILE *lines;

	take_stderr();
	fill_pipe();
	report_begin();
	for (unsigned i = 0; i < MESSAGES; i++)
		report_note("message %u", i);
	/* It gives up. */
	report_flush();
	lines = fdopen(pipe_fds[0], "r");
	while (expected + lost < MESSAGES && next_line(lines, line, sizeof(line))) {
		if (sscanf(line, "ubd-serve: message %u", &number) == 1 && number == expected)
			expected++;
		else if (sscanf(line, "ubd-serve: %u messages were lost", &lost) != 1)
			break;
	}
	report_note("the last");
	report_flush();
	restore_stderr();
	close(pipe_fds[1]);
	g_assert_cmpuint(expected, >, 0);
	g_assert_cmpuint(lost, >, 0);
	g_assert_cmpuint(expected + lost, ==, MESSAGES);
	g_assert_true(next_line(lines, line, sizeof(line)));
	g_assert_cmpstr(line, ==, "ubd-serve: the last\n");
	g_assert_false(next_line(lines, line, sizeof(line)));
	fclose(lines);
}

int main(int argc, char **argv)
{
	/* If standard error is the journal, lines begin with a priority. */
	g_unsetenv("JOURNAL_STREAM");
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/report/at-once", test_at_once);
	g_test_add_func("/report/one-line", test_one_line);
	/* First, before this process has a thread. */
	g_test_add_func("/report/end-while-nobody-reads", test_end_while_nobody_reads);
	g_test_add_func("/report/nobody-reads", test_nobody_reads);
	return g_test_run();
}
