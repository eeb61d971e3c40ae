// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubdctl upgrade: starts another server, which takes the device over from the one that serves it.
 * If that fails when the old server has left already, its program, which may have been replaced on
 * the disk, serves the device again: /proc/PID/exe keeps it.
 *
 * The new server is nobody's child, as the old one was its service manager's. That manager learns
 * of its new main process from this one, for which it may be waiting, before this one ends. It may
 * ignore what the server itself says before that, so NOTIFY_BY_STARTER tells the server not to try.
 * The manager already has a control fd of the device, if it keeps one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl.h"
#include "notify_socket.h"
#include "subject.h"
#include "tool.h"

/* Out of the way of what ctl_fds_exec() passes on. */
#define FIRST_FD 10

/* What is upgraded, and to what. */
struct upgrade {
	struct transport *transport;
	char **program;
	int old_pid;
	int old_program; /* its file; -1: it cannot be started again */
};

/* ---- the old server ---- */

/* A number, so it does not matter whether the old server can be trusted. */
static bool take_watchdog(const char *setting)
{
	const char *number = setting + strlen("WATCHDOG_USEC=");

	if (!g_str_has_prefix(setting, "WATCHDOG_USEC=") ||
	    !g_ascii_string_to_unsigned(number, 10, 1, G_MAXINT64, NULL, NULL))
		return false;
	g_setenv("WATCHDOG_USEC", number, TRUE);
	return true;
}

/* The service manager would miss the new server's signs of life, but has only told the old one. */
static void inherit_watchdog(int pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/environ", pid), *text = NULL;
	gsize bytes;

	g_unsetenv("WATCHDOG_PID");
	if (!g_file_get_contents(path, &text, &bytes, NULL))
		return;
	for (const char *setting = text; setting < text + bytes; setting += strlen(setting) + 1)
		if (take_watchdog(setting))
			return;
}

/*
 * Only root and this user can have chosen what is in it: a device may be served by a process that
 * its control fd was passed on to.
 */
static bool is_trusted(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && !(st.st_mode & 022) &&
	       (st.st_uid == 0 || st.st_uid == geteuid());
}

static int open_program(int pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/exe", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC), high = -1;

	if (fd >= 0 && is_trusted(fd))
		high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
	if (fd >= 0)
		close(fd);
	return high;
}

/* False after an error message. */
static bool find_old_server(struct upgrade *upgrade)
{
	const struct transport *transport = upgrade->transport;
	struct transport_info info, again;
	int res = upgrade->transport->ops->get_info(upgrade->transport, &info);

	if (res < 0) {
		tool_error("%s: %s", transport->path, g_strerror(-res));
		return false;
	}
	if (!info.recovery) {
		tool_error("%s: its server was started without --recovery", transport->path);
		return false;
	}
	if (info.state != TRANSPORT_LIVE || info.server_pid <= 0) {
		tool_error("%s: %s", transport->path,
			   info.server_pid == 0
				   ? "its server is in another PID namespace, or hidden"
				   : "it has no server");
		return false;
	}
	upgrade->old_pid = info.server_pid;
	upgrade->old_program = open_program(info.server_pid);
	inherit_watchdog(info.server_pid);
	/* It was that process all the time, and not a later one with its number. */
	res = upgrade->transport->ops->get_info(upgrade->transport, &again);
	if (res == 0 && again.server_pid == info.server_pid)
		return true;
	tool_error("%s: its server has changed meanwhile", transport->path);
	return false;
}

/* ---- the new one ---- */

struct started {
	pid_t pid;
	int output; /* it prints the device's name there when it is live */
};

/* @file: that of the program; -1: it is found by its name. */
G_GNUC_NORETURN static void be_server(const struct upgrade *upgrade, int file, int output)
{
	g_autofree char *path = file < 0 ? g_strdup(upgrade->program[0])
					 : g_strdup_printf("/proc/self/fd/%d", file);
	int control = transport_fd(upgrade->transport);
	struct ctl_fds fds = { .control = control < 0 ? -1 : dup(control), .disk = -1 };

	g_setenv(NOTIFY_BY_STARTER, "1", TRUE);
	if (control < 0)
		g_setenv(TRANSPORT_TAKE_OVER, upgrade->transport->path, TRUE);
	if ((control < 0 || fds.control >= 0) && dup2(output, STDOUT_FILENO) >= 0)
		ctl_fds_exec_file(&fds, path, upgrade->program);
	_exit(EXIT_FAILURE);
}

/* Becomes no child of this process: the one in between ends at once, and tells its number. */
G_GNUC_NORETURN static void be_between(const struct upgrade *upgrade, int file, int output,
				       int number)
{
	pid_t pid;

	setsid();
	pid = fork();
	if (pid == 0)
		be_server(upgrade, file, output);
	_exit(pid > 0 && write(number, &pid, sizeof(pid)) == sizeof(pid) ? EXIT_SUCCESS
									 : EXIT_FAILURE);
}

static bool high_pipe(int *ret_ends)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	for (unsigned i = 0; i < 2; i++) {
		ret_ends[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, FIRST_FD);
		close(ends[i]);
	}
	return ret_ends[0] >= 0 && ret_ends[1] >= 0;
}

/* False after an error message. */
static bool start_server(const struct upgrade *upgrade, int file, struct started *ret_started)
{
	int output[2], number[2], status = -1;
	pid_t between = -1;

	if (high_pipe(output) && high_pipe(number))
		between = fork();
	if (between == 0)
		be_between(upgrade, file, output[1], number[1]);
	if (between < 0) {
		tool_error("cannot start a server: %s", g_strerror(errno));
		return false;
	}
	while (waitpid(between, &status, 0) < 0 && errno == EINTR)
		;
	close(output[1]);
	close(number[1]);
	ret_started->output = output[0];
	if (read(number[0], &ret_started->pid, sizeof(pid_t)) != sizeof(pid_t))
		ret_started->pid = -1;
	close(number[0]);
	if (ret_started->pid > 0)
		return true;
	tool_error("cannot start a server");
	close(output[0]);
	return false;
}

/* Waits until it is live, or has ended, which closes its output. */
static bool becomes_live(const struct started *started)
{
	bool is_live = false;
	char text[256];
	ssize_t got;

	do {
		got = read(started->output, text, sizeof(text));
		is_live = got > 0 && memchr(text, '\n', got);
		if (got > 0)
			fwrite(text, 1, got, stdout);
	} while (!is_live && (got > 0 || (got < 0 && errno == EINTR)));
	fflush(stdout);
	close(started->output);
	return is_live;
}

/* The old server may have said that it is stopping. The new one is alive, but cannot say so yet. */
static void tell_manager(const struct transport *transport, pid_t pid)
{
	g_autofree char *text =
		g_strdup_printf("READY=1\nSTATUS=%s\nWATCHDOG=1\nMAINPID=%d", transport->path, pid);
	struct sockaddr_un address;
	socklen_t bytes;
	int fd;

	if (notify_socket_address(&address, &bytes) < 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, bytes) < 0)
		tool_error("cannot notify the service manager: %s", g_strerror(errno));
	if (fd >= 0)
		close(fd);
}

static bool serve(const struct upgrade *upgrade, int file)
{
	struct started started;

	if (!start_server(upgrade, file, &started) || !becomes_live(&started))
		return false;
	tell_manager(upgrade->transport, started.pid);
	return true;
}

/* ---- if it fails ---- */

static bool is_still_served(const struct upgrade *upgrade)
{
	struct transport_info info;

	return upgrade->transport->ops->get_info(upgrade->transport, &info) == 0 &&
	       info.state == TRANSPORT_LIVE && info.server_pid == upgrade->old_pid;
}

static void go_back(const struct upgrade *upgrade)
{
	const char *path = upgrade->transport->path;

	if (is_still_served(upgrade))
		tool_error("%s: the new server has failed; the old one, process %d, continues",
			   path, upgrade->old_pid);
	else if (upgrade->old_program >= 0 && serve(upgrade, upgrade->old_program))
		tool_error("%s: the new server has failed; the old program serves it again", path);
	else
		tool_error("%s: the new server has failed; the device waits for another one", path);
}

static bool upgrade_device(const char *device, char **program)
{
	struct transport_info info;
	struct upgrade upgrade = { .program = program, .old_program = -1 };
	bool ok = false;

	upgrade.transport = ctl_open(device, &info);
	if (!upgrade.transport)
		return false;
	if (find_old_server(&upgrade)) {
		ok = serve(&upgrade, -1);
		if (!ok)
			go_back(&upgrade);
	}
	if (upgrade.old_program >= 0)
		close(upgrade.old_program);
	transport_free(upgrade.transport);
	return ok;
}

int ctl_upgrade(const struct command *command, char **argv)
{
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
		  "DEVICE -- PROGRAM [ARGUMENT...]" },
		{},
	};
	char **program = ctl_cut_program(command, argv);
	g_autofree char *name = NULL;

	if (!program || !command_parse(command, entries, argv))
		return EXIT_FAILURE;
	if (!words || words[1])
		return command_usage_error(command, "expecting one device");
	name = subject_find(words[0]);
	if (!name)
		return EXIT_FAILURE;
	if (subject_is_export(name)) {
		g_autofree char *printable = ctl_printable(name);

		tool_error("%s is an export, not a device", printable);
		return EXIT_FAILURE;
	}
	return upgrade_device(name, program) ? EXIT_SUCCESS : EXIT_FAILURE;
}
