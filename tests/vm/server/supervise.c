// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As much of a service manager as a server notices. Usage: supervise COMMAND...
 *
 * Runs the command until it ends with status 0; after each other end it is started again, as a user
 * without privileges, with the descriptor that it had asked to be kept. When it is ready its
 * process number is printed, and "alive" whenever it says that it is.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER 1000

static int kept = -1;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(2);
}

static int notify_socket(void)
{
	struct sockaddr_un address = { AF_UNIX, "/run/notify" };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unlink(address.sun_path);
	check(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	check(chmod(address.sun_path, 0666) == 0, "chmod");
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	return fd;
}

static void run_child(char **command, int again)
{
	char pid[16];

	if (kept >= 0) {
		check(dup2(kept, 3) == 3, "dup2");
		snprintf(pid, sizeof(pid), "%d", getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_FDNAMES", "ubd", 1);
	}
	if (again)
		check(setgid(USER) == 0 && setuid(USER) == 0, "setuid");
	execvp(command[0], command);
	check(0, command[0]);
}

static void take_message(int fd, pid_t child)
{
	char text[512] = "";
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;

	check(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) > 0, "recvmsg");
	cmsg = CMSG_FIRSTHDR(&msg);
	if (strstr(text, "FDSTORE=1") && cmsg) {
		if (kept >= 0)
			close(kept);
		memcpy(&kept, CMSG_DATA(cmsg), sizeof(kept));
		/* Out of the way of those that are handed on. */
		kept = fcntl(kept, F_DUPFD_CLOEXEC, 100);
	} else if (strstr(text, "FDSTOREREMOVE=1")) {
		close(kept);
		kept = -1;
	} else if (strstr(text, "READY=1")) {
		printf("%d\n", child);
		fflush(stdout);
	} else if (strstr(text, "WATCHDOG=1")) {
		puts("alive");
		fflush(stdout);
	}
}

/* Its exit status as wait() has it. */
static int supervise(int notify, pid_t child)
{
	struct pollfd fds[] = { { .fd = notify, .events = POLLIN },
				{ .fd = syscall(SYS_pidfd_open, child, 0), .events = POLLIN } };
	int status;

	do {
		poll(fds, 2, -1);
		if (fds[0].revents)
			take_message(notify, child);
	} while (fds[0].revents || !fds[1].revents);
	close(fds[1].fd);
	waitpid(child, &status, 0);
	return status;
}

int main(int argc, char **argv)
{
	int notify = notify_socket(), status = 1;

	for (int start = 0; argc > 1 && status; start++) {
		pid_t child = fork();

		if (!child)
			run_child(argv + 1, start);
		status = supervise(notify, child);
		/* What never got ready would fail for ever. */
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return WEXITSTATUS(status);
	}
	return kept >= 0;
}
