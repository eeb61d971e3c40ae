// SPDX-License-Identifier: GPL-2.0-or-later
/* The deadline of a server that is asked to leave; see leave.h. */
#include "leave.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

struct leave {
	const struct transport *transport;
	int pid; /* 0: in another PID namespace */
	int pidfd;
	unsigned kill_after_s;
	GThread *thread;
	GMutex lock;
	GCond changed;
	bool left; /* guarded by lock */
};

/* Whether it has left before @end. */
static bool wait_until(struct leave *leave, gint64 end)
{
	bool left;

	g_mutex_lock(&leave->lock);
	while (!leave->left && g_cond_wait_until(&leave->changed, &leave->lock, end))
		;
	left = leave->left;
	g_mutex_unlock(&leave->lock);
	return left;
}

static void kill_server(const struct leave *leave)
{
	int res = -ESRCH;

	if (leave->pidfd >= 0)
		res = syscall(SYS_pidfd_send_signal, leave->pidfd, SIGKILL, NULL, 0) < 0 ? -errno
											 : 0;
	if (res < 0)
		report_error("%s: cannot kill its server: %s", leave->transport->path,
			     g_strerror(-res));
	else
		report_note("%s: killed its server, process %d, which had not left within %u "
			    "seconds",
			    leave->transport->path, leave->pid, leave->kill_after_s);
}

static void remind(const struct leave *leave)
{
	report_note("%s: its server, process %d, has not left within %d seconds, and "
		    "requests wait for it; kill it if it hangs",
		    leave->transport->path, leave->pid, LEAVE_REMIND_SECONDS);
}

/* It reports in place of the main thread, which waits in the kernel. */
static void *leave_thread(void *arg)
{
	struct leave *leave = arg;
	gint64 begin = g_get_monotonic_time();
	unsigned seconds = leave->kill_after_s ?: LEAVE_REMIND_SECONDS;

	if (wait_until(leave, begin + seconds * G_USEC_PER_SEC))
		return NULL;
	if (leave->kill_after_s)
		kill_server(leave);
	else
		remind(leave);
	return NULL;
}

/* Of the process that serves the device, and of no later one with its number. */
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

struct leave *leave_begin(struct transport *transport, unsigned kill_after_s)
{
	struct transport_info info;
	struct leave *leave;

	if (transport->ops->get_info(transport, &info) < 0 || info.server_pid < 0)
		return NULL;
	leave = g_new0(struct leave, 1);
	leave->transport = transport;
	leave->pidfd = open_server(transport, &info);
	leave->pid = info.server_pid;
	leave->kill_after_s = kill_after_s;
	g_mutex_init(&leave->lock);
	g_cond_init(&leave->changed);
	leave->thread = g_thread_new("ubd-leave", leave_thread, leave);
	return leave;
}

void leave_end(struct leave *leave)
{
	if (!leave)
		return;
	g_mutex_lock(&leave->lock);
	leave->left = true;
	g_cond_signal(&leave->changed);
	g_mutex_unlock(&leave->lock);
	g_thread_join(leave->thread);
	if (leave->pidfd >= 0)
		close(leave->pidfd);
	g_mutex_clear(&leave->lock);
	g_cond_clear(&leave->changed);
	g_free(leave);
}
