// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connecting the kernel with a server's queues; see nbd_attach.h.
 *
 * A work item of nbd.ko reads the answers of a queue, for ever. If the kernel is slow to create
 * threads for these items, a single rescuer thread takes them all, begins with one and never gets
 * to the others, whose queues hang. So we send something on each socket, see whether it is read,
 * and connect again if not.
 */
#include "nbd_attach.h"

#include <endian.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "align.h"
#include "nbd_protocol.h"
#include "nbd_sysfs.h"

/* In place of "never", which nbd.ko does not have in all cases. */
#define NEVER_S	      TRANSPORT_MAX_RECOVERY_TIMEOUT
#define FOREVER_S     (UINT64_C(10) * 365 * 24 * 60 * 60)
/* Room for several large requests on their way. */
#define SOCKET_BUFFER (2 << 20)

/* How long to wait for what others do in passing, such as udev's look at a disk. */
#define PAUSE_US      50000
#define PATIENCE_US   (5 * G_USEC_PER_SEC)

/* How often to connect, and how soon the kernel must have begun to read. */
#define CONNECT_TRIES 20
#define READ_US	      (2 * G_USEC_PER_SEC)

/* ---- sockets ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_sockets(struct nbd_attach *attach)
{
	for (unsigned i = 0; attach->ours && i < attach->description->info.queues; i++) {
		close_fd(&attach->ours[i]);
		close_fd(&attach->theirs[i]);
	}
}

static int make_pair(struct nbd_attach *attach, unsigned q_id)
{
	static const int room = SOCKET_BUFFER;
	const uint32_t magic = htobe32(NBD_SIMPLE_REPLY_MAGIC);
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	/* Only a privileged process gets all of it. */
	for (unsigned i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	attach->ours[q_id] = fds[0];
	attach->theirs[q_id] = fds[1];
	/* The first answer goes on from there (server/fetch_nbd.c). */
	if (send(fds[0], &magic, sizeof(magic), MSG_NOSIGNAL) != sizeof(magic))
		return -EIO;
	return 0;
}

int nbd_attach_make_sockets(struct nbd_attach *attach)
{
	unsigned queues = attach->description->info.queues;
	int res = 0;

	attach->ours = g_renew(int, attach->ours, queues);
	attach->theirs = g_renew(int, attach->theirs, queues);
	memset(attach->ours, -1, queues * sizeof(*attach->ours));
	memset(attach->theirs, -1, queues * sizeof(*attach->theirs));
	for (unsigned i = 0; i < queues && !res; i++)
		res = make_pair(attach, i);
	return res;
}

/*
 * Whether the kernel has read what we have sent, the beginning of each queue's first answer. It
 * keeps that until it gets the rest.
 */
static bool are_read(const struct nbd_attach *attach)
{
	int left;

	for (unsigned i = 0; i < attach->description->info.queues; i++)
		if (ioctl(attach->ours[i], SIOCOUTQ, &left) < 0 || left)
			return false;
	return true;
}

static bool is_hung_up(int fd)
{
	struct pollfd wait = { .fd = fd };

	return poll(&wait, 1, 0) == 1 && wait.revents & POLLHUP;
}

/* ---- connecting: in steps, none of which waits ---- */

static unsigned server_flags(const struct device_params *params)
{
	return NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN |
	       (params->read_only ? NBD_FLAG_READ_ONLY : 0) |
	       (params->volatile_cache ? NBD_FLAG_SEND_FLUSH : 0) |
	       (params->fua ? NBD_FLAG_SEND_FUA : 0) |
	       (params->rotational ? NBD_FLAG_ROTATIONAL : 0) |
	       (params->max_discard_sectors ? NBD_FLAG_SEND_TRIM : 0) |
	       (params->max_write_zeroes_sectors ? NBD_FLAG_SEND_WRITE_ZEROES : 0);
}

static uint64_t dead_timeout(const struct transport_info *info)
{
	return info->recovery ? info->recovery_timeout ?: FOREVER_S : 0;
}

static int connect_new(struct nbd_attach *attach)
{
	const struct nbd_description *description = attach->description;
	const struct device_params *params = &description->params;
	unsigned queues = description->info.queues;
	g_autofree char *backend = nbd_description_to_text(description);
	const struct nbd_connection connection = {
		.id = attach->id,
		.backend = backend,
		.sockets = attach->theirs,
		.nr_sockets = queues,
		.size = params->dev_sectors * SECTOR_SIZE,
		.block_size = params->logical_block_size,
		.server_flags = server_flags(params),
		.timeout = queues > 1 ? NEVER_S : nbd_request_timeout(params->request_timeout),
		.dead_timeout = dead_timeout(&description->info),
	};

	return nbd_netlink_connect(attach->netlink, &connection);
}

static int connect_again(struct nbd_attach *attach)
{
	g_autofree char *backend = nbd_attribute(attach->id, "backend");
	const struct nbd_connection connection = {
		.id = attach->id,
		.backend = backend,
		.sockets = attach->theirs,
		.nr_sockets = 1,
	};

	return backend ? nbd_netlink_reconnect(attach->netlink, &connection) : -ENODEV;
}

static void close_theirs(struct nbd_attach *attach)
{
	for (unsigned i = 0; i < attach->description->info.queues; i++)
		close_fd(&attach->theirs[i]);
}

/* Goes on after a pause; or ends with @error if that has lasted too long. */
static int try_later(struct nbd_attach *attach, int error)
{
	gint64 now = g_get_monotonic_time();

	if (!attach->end)
		attach->end = now + PATIENCE_US;
	attach->next = now + PAUSE_US;
	return now < attach->end ? -EAGAIN : error;
}

static int wait_for_reads(struct nbd_attach *attach)
{
	int res;

	if (are_read(attach))
		return 0;
	if (g_get_monotonic_time() < attach->end)
		return -EAGAIN;
	if (nbd_connection(attach->id) == attach->connection)
		nbd_netlink_disconnect(attach->netlink, attach->id);
	attach->connection = 0;
	attach->end = 0;
	close_sockets(attach);
	if (attach->connects == CONNECT_TRIES)
		return -ETIMEDOUT;
	res = nbd_attach_make_sockets(attach);
	return res ?: -EAGAIN;
}

/* Somebody may have the disk open for a moment. */
static int attach_new(struct nbd_attach *attach)
{
	int res;

	if (attach->connection)
		return wait_for_reads(attach);
	res = connect_new(attach);
	if (res == -EBUSY && !nbd_is_connected(attach->id))
		return try_later(attach, res);
	close_theirs(attach);
	if (res < 0)
		return res;
	attach->connection = nbd_connection(attach->id);
	attach->connects++;
	attach->end = g_get_monotonic_time() + READ_US;
	return attach->connection ? wait_for_reads(attach) : -ENODEV;
}

/*
 * Of a device that is taken over. The kernel may not have noticed yet that the last connection is
 * dead. Then it has nothing to replace, and closes what it was given.
 */
static int attach_again(struct nbd_attach *attach)
{
	int res = connect_again(attach);

	close_theirs(attach);
	if (res < 0 || !is_hung_up(attach->ours[0]))
		return res;
	close_sockets(attach);
	res = nbd_attach_make_sockets(attach);
	return res ?: try_later(attach, -EBUSY);
}

int nbd_attach_step(struct nbd_attach *attach, bool again)
{
	if (g_get_monotonic_time() < attach->next)
		return -EAGAIN;
	return again ? attach_again(attach) : attach_new(attach);
}

void nbd_attach_end(struct nbd_attach *attach)
{
	close_sockets(attach);
	g_free(attach->ours);
	g_free(attach->theirs);
}
