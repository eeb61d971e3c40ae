// SPDX-License-Identifier: GPL-2.0-or-later
/* The service manager that started us; see supervisor.h. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aio.h"
#include "notify_socket.h"
#include "passed_fds.h"
#include "report.h"

#define FD_NAME "ubd"

/* A service manager that does not take a message by then may wait for our own disk. */
#define TELL_NS UINT64_C(1000000000)

/* Of supervisor_connect(); -1: none. */
static int socket_fd = -1;

void supervisor_connect(void)
{
	struct sockaddr_un address;
	socklen_t len;

	if (notify_socket_address(&address, &len) < 0)
		return;
	socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* If it fails, the first message says so. */
	if (socket_fd >= 0)
		connect(socket_fd, (struct sockaddr *)&address, len);
}

/* Sends a message, with a descriptor unless that is -1. */
static int co_send_message(const char *text, int fd)
{
	struct aio_limit limit = { .end_ns = aio_ns_from_now(TELL_NS) };
	struct sockaddr_un address;
	struct iovec iov = { (char *)text, strlen(text) };
	union passed_fds room;
	struct msghdr msg = { .msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1 };
	int sock = socket_fd, res;

	res = notify_socket_address(&address, &msg.msg_namelen);
	if (res < 0)
		return res == -ENOENT ? 0 : res;
	if (fd >= 0)
		passed_fds_put(&msg, &room, &fd, 1);
	if (sock < 0)
		sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	res = co_sendmsg(sock, &msg, 0, &limit);
	if (sock != socket_fd)
		close(sock);
	return MIN(res, 0);
}

static void co_tell(const char *text, int fd)
{
	int res = co_send_message(text, fd);

	if (res < 0)
		report_note("cannot notify the service manager: %s", g_strerror(-res));
}

/* The descriptor that is ours among those that were passed to us; -1: none. */
static int find_fd(void)
{
	g_auto(GStrv) names = NULL;
	unsigned nr = passed_fds_inherited(&names);

	if (!passed_fds_are_ours())
		return -1;
	for (unsigned i = 0; names[i] && i < nr; i++)
		if (strcmp(names[i], FD_NAME) == 0)
			return PASSED_FDS_INHERITED + i;
	return -1;
}

int supervisor_take_fd(void)
{
	int fd = find_fd();

	passed_fds_forget();
	if (fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -1;
	return fd;
}

void supervisor_co_drop_fd(void)
{
	co_tell("FDSTOREREMOVE=1\nFDNAME=" FD_NAME, -1);
}

/* Then the manager hears from it that this server is ready, and keeps the device's fd already. */
static bool is_told_by_starter(void)
{
	return getenv(NOTIFY_BY_STARTER);
}

void supervisor_co_store_fd(int fd)
{
	if (is_told_by_starter())
		return;
	/* There is room for one, and it may have that of the device's last server. */
	supervisor_co_drop_fd();
	co_tell("FDSTORE=1\nFDNAME=" FD_NAME, fd);
}

void supervisor_co_ready(const char *status)
{
	g_autofree char *text = g_strdup_printf("READY=1\nSTATUS=%s\nMAINPID=%d", status, getpid());

	if (!is_told_by_starter())
		co_tell(text, -1);
}

guint64 supervisor_watchdog_us(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	/* It is not ours but that of the process that started us. */
	if (!us || (pid && atoi(pid) != getpid()))
		return 0;
	return g_ascii_strtoull(us, NULL, 10);
}

void supervisor_co_alive(void)
{
	static bool is_known;

	/* The first time comes before the starter has said who we are. */
	if (is_known || !is_told_by_starter())
		co_tell("WATCHDOG=1", -1);
	is_known = true;
}

void supervisor_co_stopping(void)
{
	co_tell("STOPPING=1", -1);
}
