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
 * How long to wait until a server that does not hold its requests has answered some. On 7.2, the
 * driver's own limit did not end a wait for a server that held all tags.
 */
#define QUIESCE_MS   3000
#define QUIESCE_S    5

/* Kernels before 6.16 cannot ask a server to leave. ubd-serve leaves with this signal. */
static int signal_server(struct transport *transport, int pid)
{
	int pidfd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1, res;
	struct transport_info info;

	if (pid <= 0)
		return -ESRCH;
	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	/* It is not a later process with the server's number. */
	res = transport->ops->get_info(transport, &info);
	if (res == 0 && info.server_pid == pid &&
	    syscall(SYS_pidfd_send_signal, pidfd, TRANSPORT_LEAVE_SIGNAL, NULL, 0) < 0 &&
	    errno != ESRCH)
		res = -errno;
	close(pidfd);
	return res;
}

/*
 * The driver tells the server by a command that waits for a request, of which each queue must have
 * one, and then the server answers the requests that it has. If all are busy, or the kernel has no
 * such way, a signal tells it.
 */
static int ask_to_leave(struct transport *transport, int pid)
{
	/* Another handle, since the command may be stuck. */
	struct transport *handle = transport->ops->clone(transport, NULL);
	uint64_t offered;
	int res = -EOPNOTSUPP;

	if (handle && ublk_kernel_features(&offered, NULL) == 0 && offered & UBLK_CAN_QUIESCE)
		res = ublk_simple_command(handle, UBLK_QUIESCE_DEV, QUIESCE_MS, QUIESCE_S);
	transport_free(handle);
	return res < 0 ? signal_server(transport, pid) : 0;
}

static int wait_until_left(struct transport *transport, struct transport_info *info, gint64 end_us)
{
	int res = 0;

	while (res == 0 && info->state == TRANSPORT_LIVE) {
		if (g_get_monotonic_time() >= end_us)
			return -ESRCH;
		g_usleep(POLL_US);
		res = transport->ops->get_info(transport, info);
	}
	return res ?: info->state == TRANSPORT_STOPPED ? -ENODEV : 0;
}

int ublk_quiesce(struct transport *transport)
{
	struct transport_info info;
	int res = transport->ops->get_info(transport, &info);

	if (res < 0)
		return res;
	if (!info.recovery || info.state == TRANSPORT_STOPPED)
		return -EINVAL;
	if (info.state == TRANSPORT_LIVE)
		res = ask_to_leave(transport, info.server_pid);
	if (res < 0 && res != -ESRCH)
		return res;
	return wait_until_left(transport, &info,
			       res == 0 ? G_MAXINT64 : g_get_monotonic_time() + DIED_WAIT_US);
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
