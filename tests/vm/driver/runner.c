// SPDX-License-Identifier: GPL-2.0-or-later
/* Runs each test in its own process, with a time limit; see lib.h. */
#include "lib.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_SECONDS 120

static int reason_fd = STDERR_FILENO; /* of a test: a pipe to the runner */

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(reason_fd, format, args);
	va_end(args);
	_exit(1);
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int spawn(void (*run)(void *arg), void *arg)
{
	int pid = fork();

	CHECK(pid >= 0);
	if (pid)
		return pid;
	run(arg);
	_exit(0);
}

void check_exit(int pid, int signal)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (signal)
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signal);
	else
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void run_in_child(const struct test *test)
{
	setpgid(0, 0);
	test->run();
	_exit(0);
}

/* Nothing of a test may be left, however it ended. */
static bool is_all_gone(void)
{
	char line[64];
	FILE *modules = fopen("/proc/modules", "re");
	unsigned int users = 1;
	glob_t nodes;

	while (modules && fgets(line, sizeof(line), modules))
		if (sscanf(line, "ubd %*u %u", &users) == 1)
			break;
	if (modules)
		fclose(modules);
	return users == 0 && glob("/sys/class/ubd/ubdc*", 0, NULL, &nodes) == GLOB_NOMATCH;
}

void tell_tasks(void)
{
	fflush(stdout);
	(void)!system("for t in /proc/[0-9]*/task/*; do"
		      " case $(cat $t/comm)$(cat $t/stack) in driver-*|iou-*|*ubd_*)"
		      " echo \"# $t $(cat $t/comm) $(grep State $t/status)\";"
		      " sed 's/^/#   /' $t/stack;; esac; done 2>/dev/null");
}

/* Adds what the test has printed. */
static void read_reason(int reason_pipe, char *reason, size_t size)
{
	size_t said = strlen(reason);

	fcntl(reason_pipe, F_SETFL, O_NONBLOCK);
	(void)!read(reason_pipe, reason + said, size - 1 - said);
}

/* A test that even SIGKILL does not end waits in the kernel forever: then nothing else can run. */
static int wait_for_end(const struct test *test, int pid, int reason_pipe, char *reason,
			size_t size)
{
	int left = NR_SLEEPS(TEST_SECONDS), status;

	for (; waitpid(pid, &status, WNOHANG) == 0; left--, usleep(2000)) {
		if (left == 0) {
			tell_tasks();
			snprintf(reason, size, "time limit of %d s passed. ", TEST_SECONDS);
			kill(pid, SIGKILL);
		}
		if (left < -NR_SLEEPS(5)) {
			tell_tasks();
			read_reason(reason_pipe, reason, size);
			printf("not ok %s: it cannot be killed. %s\n", test->name, reason);
			exit(1);
		}
	}
	if (WIFSIGNALED(status) && !reason[0])
		snprintf(reason, size, "%s", strsignal(WTERMSIG(status)));
	return status;
}

static const char *by_what(void)
{
	if (server_by_batches)
		return server_data_path ? ", by batches and user copy" : ", by batches";
	return server_data_path ? ", by user copy" : "";
}

static bool run_test(const struct test *test)
{
	char reason[1024] = "";
	int status, pid, pipe_fds[2];

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		reason_fd = pipe_fds[1];
		run_in_child(test);
	}
	status = wait_for_end(test, pid, pipe_fds[0], reason, sizeof(reason));
	kill(-pid, SIGKILL);
	read_reason(pipe_fds[0], reason, sizeof(reason));
	close(pipe_fds[0]);
	close(pipe_fds[1]);

	for (int left = NR_SLEEPS(10); !is_all_gone() && left; left--)
		usleep(2000);
	if (!reason[0] && !is_all_gone())
		snprintf(reason, sizeof(reason), "something is left behind 10 s later");

	if (!reason[0] && status == 0)
		printf("ok %s%s\n", test->name, by_what());
	else
		printf("not ok %s%s: %s\n", test->name, by_what(), reason);
	fflush(stdout);
	return !reason[0] && status == 0;
}

static bool is_wanted(const struct test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], test->name))
			return true;
	return argc <= 1;
}

int run_tests(const struct test *tests, size_t nr, int argc, char **argv)
{
	bool good = true;

	for (; argc > 1 && !strncmp(argv[1], "--", 2); argc--, argv++) {
		if (!strcmp(argv[1], "--user-copy"))
			server_data_path = UBD_F_USER_COPY;
		if (!strcmp(argv[1], "--batch")) {
			if (!(get_features() & UBD_F_BATCH))
				return 0;
			server_by_batches = true;
		}
	}
	/* The runner must end, and wait for, whatever a test started and left behind. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (size_t i = 0; i < nr; i++)
		if (is_wanted(&tests[i], argc, argv))
			good &= run_test(&tests[i]);
	return good ? 0 : 1;
}

int run_tests_by_user_copy(const struct test *tests, size_t nr, int argc, char **argv)
{
	server_by_batches = false;
	server_data_path = UBD_F_USER_COPY;
	return run_tests(tests, nr, argc, argv);
}

int run_tests_by_batches(const struct test *tests, size_t nr, int argc, char **argv)
{
	if (!(get_features() & UBD_F_BATCH))
		return 0;
	server_by_batches = true;
	server_data_path = 0;
	return run_tests(tests, nr, argc, argv);
}

int get(int *field)
{
	return __atomic_load_n(field, __ATOMIC_SEQ_CST);
}

void set(int *field, int value)
{
	__atomic_store_n(field, value, __ATOMIC_SEQ_CST);
}
