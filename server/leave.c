// SPDX-License-Identifier: GPL-2.0-or-later
/* The deadline of a server that is asked to leave; see leave.h. */
#include "leave.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio.h"
#include "report.h"

#define NS_PER_S UINT64_C(1000000000)

struct leave {
	const struct transport *transport;
	int pid; /* 0: in another PID namespace, or hidden */
	int pidfd;
	unsigned kill_after_s;
	struct aio_limit deadline; /* cancelled: it has left */
	struct co_group group;
};

/* Also if it has gone, and what waits is the driver, or the server that has come after it. */
static void report_unkilled(const struct leave *leave, int res)
{
	report_error("%s: cannot kill its server: %s", leave->transport->path,
		     leave->pidfd < 0 ? "it is in another PID namespace, or hidden"
				      : g_strerror(-res));
}

static void kill_server(const struct leave *leave)
{
	int res = -ESRCH;

	if (leave->pidfd >= 0)
		res = syscall(SYS_pidfd_send_signal, leave->pidfd, SIGKILL, NULL, 0) < 0 ? -errno
											 : 0;
	if (res < 0)
		report_unkilled(leave, res);
	else
		report_note("%s: killed its server, process %d, which had not left within %u "
			    "seconds",
			    leave->transport->path, leave->pid, leave->kill_after_s);
}

static void remind(const struct leave *leave)
{
	g_autofree char *who = leave->pidfd >= 0 ? g_strdup_printf("process %d", leave->pid)
						 : g_strdup("in another PID namespace or hidden");

	report_note("%s: its server, %s, has not left within %d seconds, and requests wait for it; "
		    "kill it if it hangs",
		    leave->transport->path, who, LEAVE_REMIND_SECONDS);
}

static void deadline_co(void *arg)
{
	struct leave *leave = arg;

	if (co_wait_limit(&leave->deadline) == -ECANCELED)
		return;
	if (leave->kill_after_s)
		kill_server(leave);
	else
		remind(leave);
}

/* A pidfd of the process that serves the device, and not of a later one with its number. */
static int open_server(struct transport *transport, struct transport_info *info)
{
	int pid = info->server_pid, pidfd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1;

	if (pidfd < 0)
		return -1;
	if (transport->ops->get_info(transport, info) == 0 && info->server_pid == pid)
		return pidfd;
	close(pidfd);
	return -1;
}

struct leave *leave_co_begin(struct transport *transport, unsigned kill_after_s)
{
	uint64_t seconds = kill_after_s ?: LEAVE_REMIND_SECONDS;
	struct transport_info info;
	struct leave *leave;

	if (transport->ops->get_info(transport, &info) < 0 || info.server_pid < 0)
		return NULL;
	leave = g_new0(struct leave, 1);
	leave->transport = transport;
	leave->pidfd = open_server(transport, &info);
	leave->pid = info.server_pid;
	leave->kill_after_s = kill_after_s;
	leave->deadline.end_ns = aio_ns_from_now(seconds * NS_PER_S);
	co_group_start(&leave->group, deadline_co, leave);
	return leave;
}

void leave_co_end(struct leave *leave)
{
	if (!leave)
		return;
	aio_limit_cancel(&leave->deadline);
	co_group_wait(&leave->group);
	if (leave->pidfd >= 0)
		close(leave->pidfd);
	g_free(leave);
}
