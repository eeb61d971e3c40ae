/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Terminals in place of disks, and other processes that have devices open. */
#ifndef UBD_TERMINALS_H
#define UBD_TERMINALS_H

#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A new one's path, which the caller frees; it is there until the descriptor is closed. */
static inline char *new_terminal(int *ret_fd)
{
	*ret_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	g_assert_cmpint(*ret_fd, >=, 0);
	g_assert_cmpint(unlockpt(*ret_fd), ==, 0);
	return g_strdup(ptsname(*ret_fd));
}

/* A process that has it open when this returns. */
static inline pid_t open_elsewhere(const char *path)
{
	int told[2];
	char byte;
	pid_t pid;

	g_assert_cmpint(pipe(told), ==, 0);
	pid = fork();
	if (pid == 0) {
		if (open(path, O_RDWR | O_NOCTTY) < 0 || write(told[1], "", 1) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(told[1]);
	g_assert_cmpint(read(told[0], &byte, 1), ==, 1);
	close(told[0]);
	return pid;
}

static inline void end_opener(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif
