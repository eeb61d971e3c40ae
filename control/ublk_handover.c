// SPDX-License-Identifier: GPL-2.0-or-later
/* From one server to the next; see ublk_handover.h. */
#include "ublk_handover.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ublk_command.h"

/* How often to look whether the last server has gone. */
#define POLL_US	     (20 * 1000)

/* How long the driver may take to notice that a server has died. */
#define DIED_WAIT_US (5 * G_USEC_PER_SEC)

/*
 * How long to wait until a server that does not hold its requests has answered some. The second
 * limit is for a driver that does not keep the first one.
 */
#define QUIESCE_MS   3000
#define QUIESCE_S    5

/* How long a server that has been told by the driver may take before it is told again. */
#define LEAVE_US     (3 * G_USEC_PER_SEC)

/*
 * The same after a signal. A process gets one of several signals that come together, but it may
 * have several devices, and others may ask for them.
 */
#define AGAIN_US     G_USEC_PER_SEC

static int send_leave_signal(int pidfd, const struct transport_leave *how)
{
	siginfo_t info = { .si_signo = TRANSPORT_LEAVE_SIGNAL, .si_code = SI_QUEUE };

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value = transport_leave_value(how);
	return syscall(SYS_pidfd_send_signal, pidfd, TRANSPORT_LEAVE_SIGNAL, &info, 0) < 0 ? -errno
											   : 0;
}

static int signal_server(struct transport *transport, int pid, bool when_idle)
{
	const struct transport_leave how = { transport->id, when_idle };
	int pidfd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1, res;
	struct transport_info info;

	if (pid <= 0)
		return -ESRCH;
	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	/* It is not a later process with the server's number. */
	res = transport->ops->get_info(transport, &info);
	if (res == 0 && info.server_pid == pid)
		res = send_leave_signal(pidfd, &how);
	close(pidfd);
	return res == -ESRCH ? 0 : res;
}

/* The server is told by a command that waits for a request. */
static int quiesce_device(struct transport *transport)
{
	/* Another handle, since the command may be stuck. */
	struct transport *handle = transport->ops->clone(transport, NULL);
	uint64_t offered;
	int res = -EOPNOTSUPP;

	if (handle && ublk_kernel_features(&offered, NULL) == 0 && offered & UBLK_CAN_QUIESCE)
		res = ublk_simple_command(handle, UBLK_QUIESCE_DEV, QUIESCE_MS, QUIESCE_S);
	transport_free(handle);
	return res;
}

/* Another process may have become the server in between; it has not been asked. */
static bool is_there(const struct transport_info *info, int pid)
{
	return info->state == TRANSPORT_LIVE && (info->server_pid <= 0 || info->server_pid == pid);
}

/* -ETIMEDOUT: it is still there. */
static int wait_until_left(struct transport *transport, struct transport_info *info, gint64 end_us)
{
	int res = 0, pid = info->server_pid;

	while (res == 0 && is_there(info, pid)) {
		if (g_get_monotonic_time() >= end_us)
			return -ETIMEDOUT;
		g_usleep(POLL_US);
		res = transport->ops->get_info(transport, info);
	}
	return res ?: info->state == TRANSPORT_STOPPED ? -ENODEV : 0;
}

/*
 * QUIESCE_DEV makes the driver keep new requests. A server that holds all that it has does not
 * notice: no command of its queues is there to tell it.
 */
static int wait_for_told_server(struct transport *transport, struct transport_info *info)
{
	int pid = info->server_pid;
	int res = wait_until_left(transport, info, g_get_monotonic_time() + LEAVE_US);

	while (res == -ETIMEDOUT) {
		signal_server(transport, pid, true);
		res = wait_until_left(transport, info, g_get_monotonic_time() + AGAIN_US);
	}
	return res;
}

/* Kernels before 6.16 cannot ask a server to leave, and none can one whose requests are all held.
 */
static int signal_and_wait(struct transport *transport, struct transport_info *info)
{
	int pid = info->server_pid, res;

	do {
		res = signal_server(transport, pid, false);
		if (res == 0)
			res = wait_until_left(transport, info, g_get_monotonic_time() + AGAIN_US);
	} while (res == -ETIMEDOUT);
	if (res != -ESRCH)
		return res;
	res = wait_until_left(transport, info, g_get_monotonic_time() + DIED_WAIT_US);
	return res == -ETIMEDOUT ? -ESRCH : res;
}

int ublk_quiesce(struct transport *transport)
{
	struct transport_info info;
	int res = transport->ops->get_info(transport, &info);

	if (res < 0)
		return res;
	if (!info.recovery || info.state == TRANSPORT_STOPPED)
		return -EINVAL;
	if (info.state != TRANSPORT_LIVE)
		return 0;
	return quiesce_device(transport) < 0 ? signal_and_wait(transport, &info)
					     : wait_for_told_server(transport, &info);
}

/* START_RECOVERY is -EBUSY while the last server's file is open, or another server recovers it. */
int ublk_take_over(struct transport *transport)
{
	struct ublk_dev_info wire;
	int res = ublk_get_dev_info(ublk_device_of(transport), &wire);

	if (res < 0)
		return res;
	/* Another program's device, whose server must not be asked to leave in vain. */
	if (wire.flags & UBLK_OTHER_WAYS)
		return -EOPNOTSUPP;
	do {
		res = ublk_quiesce(transport);
		if (res == 0)
			res = ublk_simple_command(transport, UBLK_START_RECOVERY, 0,
						  UBLK_LIMIT_SECONDS);
		if (res == -EBUSY)
			g_usleep(POLL_US);
	} while (res == -EBUSY);
	return res;
}
