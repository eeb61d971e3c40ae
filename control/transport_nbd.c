// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Linux's own nbd.ko, to which the server is an NBD server on socket pairs, one for each queue.
 *
 * nbd.ko knows little of what the other drivers know. What it cannot be told is in the text that it
 * keeps for each device (nbd_description.h), by which devices of ours are told from those of
 * others, which are never touched. Which process serves a device is said by a file in /run/ubd
 * (nbd_server_file.h).
 *
 * Limits that are nbd.ko's:
 *
 *   1. A request that takes longer than the timeout is sent once more on another connection, if
 *      there is one, while the first attempt may still be running and would overwrite what is
 *      written later. So a device with several queues has no timeout, and one that waits for
 *      another server has one queue.
 *   2. Requests that a dead server had are only sent once more when their time is over, so with
 *      recovery that time is short: REISSUE_MS. A slow server is not disturbed by it.
 *   3. The device of a dead server stays, and requests wait for ever, until it is disconnected. So
 *      another process watches the server (nbd_watcher.h).
 *   4. A work item of nbd.ko reads the answers of a queue, for ever. If the kernel is slow to
 * create threads for these items, a single rescuer thread takes them all, begins with one and never
 *      gets to the others, whose queues hang. So we send something on each socket, see whether it
 * is read, and connect again if not.
 */
#include "transport.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "align.h"
#include "disk_opener.h"
#include "disk_write_back.h"
#include "error.h"
#include "nbd_description.h"
#include "nbd_disk.h"
#include "nbd_netlink.h"
#include "nbd_protocol.h"
#include "nbd_server_file.h"
#include "nbd_sysfs.h"
#include "nbd_watcher.h"

#define DISK_NAME     "nbd"
#define MAX_ID	      UINT16_MAX

/* In place of "never", which nbd.ko does not have in all cases. */
#define NEVER_S	      TRANSPORT_MAX_RECOVERY_TIMEOUT
#define FOREVER_S     (UINT64_C(10) * 365 * 24 * 60 * 60)
#define REISSUE_MS    2000
/* Room for several large requests on their way. */
#define SOCKET_BUFFER (2 << 20)

/* How long to wait for what others do in passing, such as udev's look at a disk. */
#define PAUSE_US      50000
#define PATIENCE_US   (5 * G_USEC_PER_SEC)
/* The same, while there are other devices to choose from. */
#define PASSING_US    (2 * G_USEC_PER_SEC)

/* Limit 4: how often to connect, and how soon the kernel must have begun to read. */
#define CONNECT_TRIES 20
#define READ_US	      (2 * G_USEC_PER_SEC)

/* How far the kernel has got with our sockets. */
struct attaching {
	bool done;
	bool connected;	   /* it has them, and must begin to read */
	unsigned connects; /* so far */
	gint64 next, end;  /* when to try again, and until when to go on; 0: not yet known */
};

/* What the handles of a device share. */
struct shared {
	gatomicrefcount refs;
	struct nbd_netlink *netlink;
	uint32_t id;
	_Atomic bool started; /* the kernel has the device */
	_Atomic bool served;  /* and the queues answer, so others may have written to it */
	struct attaching attaching;
	char *opener; /* a process that had the disk open; NULL: none is known */
	struct nbd_description description;
	int server_fd;	    /* -1: this process is not the server */
	int watcher_fd;	    /* of nbd_watcher_start(); -1: none */
	int *ours, *theirs; /* the sockets of each queue; -1: not any more; NULL: none yet */
};

struct nbd_device {
	struct transport transport;
	struct shared *shared;
};

static struct shared *shared_of(const struct transport *transport)
{
	return ((const struct nbd_device *)transport)->shared;
}

/* ---- what the kernel says of a device ---- */

static uint64_t sectors_of(uint32_t id)
{
	g_autofree char *text = nbd_attribute(id, "size");

	return text ? strtoull(text, NULL, 10) : 0;
}

static GArray *list(GError **err)
{
	GArray *found;
	GDir *dir;
	const char *name;

	if (access("/sys/module/nbd", F_OK) < 0) {
		error_refuse(err, -ENOENT, "nbd.ko is not loaded");
		return NULL;
	}
	found = g_array_new(FALSE, TRUE, sizeof(struct transport_info));
	dir = g_dir_open("/sys/block", 0, NULL);
	while (dir && (name = g_dir_read_name(dir))) {
		struct nbd_description description;
		struct transport_info info = { 0 };
		guint64 id;

		if (!g_str_has_prefix(name, DISK_NAME) ||
		    !g_ascii_string_to_unsigned(name + strlen(DISK_NAME), 10, 0, MAX_ID, &id,
						NULL) ||
		    !nbd_description_read(id, &description))
			continue;
		info.id = id;
		g_array_append_val(found, info);
	}
	if (dir)
		g_dir_close(dir);
	g_array_sort(found, transport_compare_ids);
	return found;
}

/* ---- handles ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_sockets(struct shared *shared)
{
	for (unsigned i = 0; shared->ours && i < shared->description.info.queues; i++) {
		close_fd(&shared->ours[i]);
		close_fd(&shared->theirs[i]);
	}
}

static void shared_unref(struct shared *shared)
{
	if (!g_atomic_ref_count_dec(&shared->refs))
		return;
	close_sockets(shared);
	g_free(shared->ours);
	g_free(shared->theirs);
	g_free(shared->opener);
	close_fd(&shared->server_fd);
	close_fd(&shared->watcher_fd);
	nbd_netlink_free(shared->netlink);
	g_free(shared);
}

static struct shared *shared_new(uint32_t id, GError **err)
{
	struct nbd_netlink *netlink = nbd_netlink_new(err);
	struct shared *shared;

	if (!netlink)
		return NULL;
	shared = g_new0(struct shared, 1);
	g_atomic_ref_count_init(&shared->refs);
	shared->netlink = netlink;
	shared->id = id;
	shared->server_fd = shared->watcher_fd = -1;
	return shared;
}

/* Takes the reference. */
static struct transport *handle_new(struct shared *shared)
{
	struct nbd_device *device = g_new(struct nbd_device, 1);

	device->transport.ops = &transport_nbd;
	g_snprintf(device->transport.path, sizeof(device->transport.path), "/dev/" DISK_NAME "%u",
		   shared->id);
	device->shared = shared;
	return &device->transport;
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	struct shared *shared = shared_of(transport);

	g_atomic_ref_count_inc(&shared->refs);
	return handle_new(shared);
}

static void free_handle(struct transport *transport)
{
	shared_unref(shared_of(transport));
	g_free(transport);
}

/* ---- sockets ---- */

static int make_pair(struct shared *shared, unsigned q_id)
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
	shared->ours[q_id] = fds[0];
	shared->theirs[q_id] = fds[1];
	/* The first answer goes on from there (server/fetch_nbd.c). */
	if (send(fds[0], &magic, sizeof(magic), MSG_NOSIGNAL) != sizeof(magic))
		return -EIO;
	return 0;
}

static int make_pairs(struct shared *shared)
{
	unsigned queues = shared->description.info.queues;
	int res = 0;

	shared->ours = g_renew(int, shared->ours, queues);
	shared->theirs = g_renew(int, shared->theirs, queues);
	memset(shared->ours, -1, queues * sizeof(*shared->ours));
	memset(shared->theirs, -1, queues * sizeof(*shared->theirs));
	for (unsigned i = 0; i < queues && !res; i++)
		res = make_pair(shared, i);
	return res;
}

/* While this process has the privileges for it. */
static int prepare(struct shared *shared)
{
	shared->watcher_fd = nbd_watcher_start(shared->id);
	return shared->watcher_fd < 0 ? shared->watcher_fd : make_pairs(shared);
}

/*
 * Whether the kernel has read what we have sent, the beginning of each queue's first answer. It
 * keeps that until it gets the rest.
 */
static bool are_read(const struct shared *shared)
{
	int left;

	for (unsigned i = 0; i < shared->description.info.queues; i++)
		if (ioctl(shared->ours[i], SIOCOUTQ, &left) < 0 || left)
			return false;
	return true;
}

static bool is_hung_up(int fd)
{
	struct pollfd wait = { .fd = fd };

	return poll(&wait, 1, 0) == 1 && wait.revents & POLLHUP;
}

/* ---- new devices ---- */

static int get_features(unsigned *ret_features, GError **err)
{
	*ret_features = 0;
	if (access("/sys/module/nbd", F_OK) == 0)
		return 0;
	return error_refuse(err, -ENOENT, "nbd.ko is not loaded");
}

/* Those whose watcher died with its server, too. */
static void disconnect_orphans(struct shared *shared)
{
	g_autoptr(GArray) devices = list(NULL);

	for (unsigned i = 0; devices && i < devices->len; i++)
		nbd_disconnect_orphan(shared->netlink,
				      g_array_index(devices, struct transport_info, i).id, false);
}

/*
 * Not only in passing, until @end. nbd.ko connects no device that somebody has open, and there is
 * nothing in /sys that would show it.
 */
static bool stays_open(struct shared *shared, uint32_t id, gint64 end)
{
	while (nbd_netlink_is_open(shared->netlink, id)) {
		if (g_get_monotonic_time() >= end)
			return true;
		g_usleep(PAUSE_US);
	}
	return false;
}

/* -EBUSY without an error: somebody uses the device. */
static int try_id(struct shared *shared, uint32_t id, GError **err)
{
	int fd = nbd_is_connected(id) ? -EBUSY : nbd_server_file_take(id, err);

	if (fd >= 0 && nbd_is_connected(id)) {
		close(fd);
		fd = -EBUSY;
	}
	if (fd < 0)
		return fd;
	shared->id = id;
	shared->server_fd = fd;
	return 0;
}

/* Now this process may look into others; whether they keep it open shows when it is connected. */
static void note_opener(struct shared *shared)
{
	g_autofree char *path = g_strdup_printf("/dev/" DISK_NAME "%u", shared->id);

	if (nbd_netlink_is_open(shared->netlink, shared->id))
		shared->opener = disk_opener(path);
}

static int choose_wanted_id(struct shared *shared, uint32_t wanted, GError **err)
{
	int res = try_id(shared, wanted, err);

	if (res == -EBUSY)
		return error_refuse(err, res, "/dev/" DISK_NAME "%u is in use", wanted);
	if (res == 0)
		note_opener(shared);
	return res;
}

static int choose_id(struct shared *shared, uint32_t wanted, GError **err)
{
	gint64 end = g_get_monotonic_time() + PASSING_US;
	int res = -EBUSY;

	if (wanted != TRANSPORT_ANY_ID)
		return choose_wanted_id(shared, wanted, err);
	for (uint32_t id = 0; id <= MAX_ID && res == -EBUSY; id++) {
		res = try_id(shared, id, err);
		if (res == 0 && stays_open(shared, id, end)) {
			close_fd(&shared->server_fd);
			res = -EBUSY;
		}
	}
	return res == -EBUSY ? error_refuse(err, res, "all nbd devices are in use") : res;
}

static int check_wishes(const struct transport_info *info, GError **err)
{
	if (info->recovery == RECOVERY_FAIL || info->recovery == RECOVERY_FAIL_IO)
		return error_refuse(err, -EOPNOTSUPP,
				    "nbd keeps requests for the next server; use "
				    "--recovery=reissue");
	if (info->no_partition_scan)
		return error_refuse(err, -EOPNOTSUPP, "nbd always scans for partitions");
	return 0;
}

static struct transport *add(struct transport_info *info, const struct identity *identity,
			     GError **err)
{
	struct shared *shared = check_wishes(info, err) < 0 ? NULL : shared_new(0, err);
	int res;

	if (!shared)
		return NULL;
	disconnect_orphans(shared);
	/* Limit 1. */
	if (info->recovery)
		info->queues = 1;
	res = choose_id(shared, info->id, err);
	info->id = shared->id;
	shared->description.info = *info;
	if (identity)
		shared->description.identity = *identity;
	if (res == 0) {
		res = prepare(shared);
		if (res == 0)
			return handle_new(shared);
		error_set(err, res, "/dev/" DISK_NAME "%u", shared->id);
	}
	shared_unref(shared);
	return NULL;
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	shared_of(transport)->description.params = *params;
	return 0;
}

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

static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return wanted == TRANSPORT_NO_TIMEOUT ? 0 : wanted;
}

static uint64_t dead_timeout(const struct transport_info *info)
{
	return info->recovery ? info->recovery_timeout ?: FOREVER_S : 0;
}

/* What nbd.ko does not let us say in the command. */
static int adjust(struct shared *shared)
{
	const struct nbd_description *description = &shared->description;
	const struct device_params *params = &description->params;
	struct nbd_description kept;

	nbd_write_attribute(shared->id, "queue/discard_max_bytes",
			    params->max_discard_sectors * SECTOR_SIZE);
	nbd_write_attribute(shared->id, "queue/write_zeroes_max_bytes",
			    params->max_write_zeroes_sectors * SECTOR_SIZE);
	if (!description->info.recovery)
		return 0;
	if (!request_timeout(params->request_timeout, false))
		nbd_write_attribute(shared->id, "queue/io_timeout", REISSUE_MS); /* limit 2 */
	/* Without it the next server could not know what it takes over. */
	return nbd_description_read(shared->id, &kept) ? 0 : -EOPNOTSUPP;
}

/*
 * ---- attaching: in steps, none of which waits; -EAGAIN: there is another one ----
 *
 * The caller's thread must live as long as the server: the kernel shows it as the process that has
 * connected the device, which nbd_may_have_process() looks for.
 */

static int connect_new(struct shared *shared)
{
	const struct nbd_description *description = &shared->description;
	const struct device_params *params = &description->params;
	unsigned queues = description->info.queues;
	g_autofree char *backend = nbd_description_to_text(description);
	const struct nbd_connection connection = {
		.id = shared->id,
		.backend = backend,
		.sockets = shared->theirs,
		.nr_sockets = queues,
		.size = params->dev_sectors * SECTOR_SIZE,
		.block_size = params->logical_block_size,
		.server_flags = server_flags(params),
		.timeout = queues > 1 ? NEVER_S : request_timeout(params->request_timeout, false),
		.dead_timeout = dead_timeout(&description->info),
	};

	return nbd_netlink_connect(shared->netlink, &connection);
}

static int connect_again(struct shared *shared)
{
	g_autofree char *backend = nbd_attribute(shared->id, "backend");
	const struct nbd_connection connection = {
		.id = shared->id,
		.backend = backend,
		.sockets = shared->theirs,
		.nr_sockets = 1,
	};

	return backend ? nbd_netlink_reconnect(shared->netlink, &connection) : -ENODEV;
}

static void close_theirs(struct shared *shared)
{
	for (unsigned i = 0; i < shared->description.info.queues; i++)
		close_fd(&shared->theirs[i]);
}

/* Goes on after a pause; or ends with @error if that has lasted too long. */
static int try_later(struct attaching *attaching, int error)
{
	gint64 now = g_get_monotonic_time();

	if (!attaching->end)
		attaching->end = now + PATIENCE_US;
	attaching->next = now + PAUSE_US;
	return now < attaching->end ? -EAGAIN : error;
}

/* Limit 4. */
static int wait_for_reads(struct shared *shared)
{
	struct attaching *attaching = &shared->attaching;
	int res;

	if (are_read(shared))
		return 0;
	if (g_get_monotonic_time() < attaching->end)
		return -EAGAIN;
	nbd_netlink_disconnect(shared->netlink, shared->id);
	attaching->connected = false;
	attaching->end = 0;
	close_sockets(shared);
	if (attaching->connects == CONNECT_TRIES)
		return -ETIMEDOUT;
	res = make_pairs(shared);
	return res ?: -EAGAIN;
}

/* Somebody may have the disk open for a moment. */
static int attach_new(struct shared *shared)
{
	struct attaching *attaching = &shared->attaching;
	int res;

	if (attaching->connected)
		return wait_for_reads(shared);
	res = connect_new(shared);
	if (res == -EBUSY && !nbd_is_connected(shared->id))
		return try_later(attaching, res);
	close_theirs(shared);
	if (res < 0)
		return res;
	attaching->connected = true;
	attaching->connects++;
	attaching->end = g_get_monotonic_time() + READ_US;
	return wait_for_reads(shared);
}

/*
 * Of a device that is taken over. The kernel may not have noticed yet that the last connection is
 * dead. Then it has nothing to replace, and closes what it was given.
 */
static int attach_again(struct shared *shared)
{
	int res = connect_again(shared);

	close_theirs(shared);
	if (res < 0 || !is_hung_up(shared->ours[0]))
		return res;
	close_sockets(shared);
	res = make_pairs(shared);
	return res ?: try_later(&shared->attaching, -EBUSY);
}

static int attach(struct shared *shared)
{
	struct attaching *attaching = &shared->attaching;
	int res;

	if (attaching->done)
		return 0;
	if (g_get_monotonic_time() < attaching->next)
		return -EAGAIN;
	res = shared->started ? attach_again(shared) : attach_new(shared);
	attaching->done = res == 0;
	shared->started |= attaching->done;
	return res;
}

static int set_attach_error(const struct transport *transport, int res, GError **err)
{
	const char *opener = shared_of(transport)->opener;

	if (res == -EAGAIN)
		return res;
	if (res == -EBUSY && opener)
		return error_refuse(err, res, "%s is open in another process (%s)", transport->path,
				    opener);
	return error_set(err, res, "%s: cannot connect the kernel", transport->path);
}

static int open_queue(struct transport *transport, uint16_t q_id, GError **err)
{
	struct shared *shared = shared_of(transport);
	int res, fd;

	/* Limit 1. */
	if (shared->description.info.queues > 1 &&
	    request_timeout(shared->description.params.request_timeout, false))
		return error_refuse(err, -EOPNOTSUPP,
				    "%s: nbd has a request timeout only with --queues=1",
				    transport->path);
	res = attach(shared);
	if (res < 0)
		return set_attach_error(transport, res, err);
	fd = shared->ours[q_id];
	shared->ours[q_id] = -1;
	return fd;
}

/* Requests have been waiting for the queues since those were opened. */
static int start(struct transport *transport)
{
	struct shared *shared = shared_of(transport);
	int res = nbd_is_connected(shared->id) ? adjust(shared) : -ENODEV;

	shared->served = true;
	if (res == -EOPNOTSUPP)
		nbd_disk_end(shared->netlink, shared->id, false);
	else if (!res)
		nbd_disk_scan(shared->id);
	return res;
}

/* ---- all devices ---- */

static struct transport *open_device(uint32_t id, struct transport_info *ret_info, GError **err)
{
	struct nbd_description description;
	struct transport *transport;
	struct shared *shared;

	if (!nbd_description_read(id, &description)) {
		error_refuse(err, -ENODEV, "/dev/" DISK_NAME "%u is not a device of ubd-serve", id);
		return NULL;
	}
	if (nbd_servers_are_hidden()) {
		error_refuse(err, -EACCES, "/dev/" DISK_NAME "%u: it belongs to another user", id);
		return NULL;
	}
	shared = shared_new(id, err);
	if (!shared)
		return NULL;
	shared->started = true;
	shared->description = description;
	transport = handle_new(shared);
	transport->ops->get_info(transport, ret_info);
	return transport;
}

static enum transport_state state_of(const struct shared *shared, int server_pid)
{
	if (!nbd_is_connected(shared->id))
		return shared->started ? TRANSPORT_STOPPED : TRANSPORT_ADDED;
	if (shared->server_fd >= 0)
		return nbd_server_must_leave(shared->server_fd) ? TRANSPORT_QUIESCED
								: TRANSPORT_LIVE;
	if (server_pid >= 0)
		return TRANSPORT_LIVE;
	/* Somebody may have it open. */
	if (!shared->description.info.recovery || nbd_server_file_has_ended(shared->id))
		return TRANSPORT_STOPPED;
	return TRANSPORT_QUIESCED;
}

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	const struct shared *shared = shared_of(transport);

	*ret_info = shared->description.info;
	ret_info->id = shared->id;
	ret_info->server_pid = shared->server_fd >= 0 ? getpid() : nbd_server_pid(shared->id);
	ret_info->state = state_of(shared, ret_info->server_pid);
	ret_info->stopping = nbd_server_file_is_stopping(shared->id);
	return 0;
}

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	const struct shared *shared = shared_of(transport);

	*ret_params = shared->description.params;
	/* It may have grown. */
	if (shared->started)
		ret_params->dev_sectors = sectors_of(shared->id);
	return 0;
}

static int get_identity(struct transport *transport, struct identity *ret_identity)
{
	*ret_identity = shared_of(transport)->description.identity;
	return 0;
}

/* The driver fails what is in flight or written while it disconnects. */
static int stop(struct transport *transport)
{
	struct shared *shared = shared_of(transport);
	struct transport_info info;
	bool serves;

	get_info(transport, &info);
	/*
	 * Of a dead server, nothing waits without recovery; and our own queues may never have
	 * begun.
	 */
	serves = shared->server_fd >= 0
			 ? shared->served && info.state == TRANSPORT_LIVE
			 : info.state == TRANSPORT_LIVE ||
				   (!info.recovery && nbd_may_have_process(shared->id));
	if (serves) {
		nbd_server_file_stop(shared->id);
		disk_write_back(transport->path);
	}
	return nbd_is_connected(shared->id) ? nbd_disk_end(shared->netlink, shared->id, serves) : 0;
}

/* The server itself has stopped it, or tried to, and does not answer any more. */
static int delete (struct transport *transport)
{
	struct shared *shared = shared_of(transport);

	if (shared->server_fd < 0)
		return stop(transport);
	return nbd_is_connected(shared->id) ? nbd_disk_end(shared->netlink, shared->id, false) : 0;
}

static int resize(struct transport *transport, uint64_t sectors)
{
	struct shared *shared = shared_of(transport);
	g_autofree char *backend = nbd_attribute(shared->id, "backend");

	return nbd_netlink_resize(shared->netlink, shared->id, backend ?: "",
				  sectors * SECTOR_SIZE);
}

/* ---- servers ---- */

/* Closing it gives back the lock, too. */
static int open_server_file(struct transport *transport, GError **err)
{
	int fd = fcntl(shared_of(transport)->server_fd, F_DUPFD_CLOEXEC, 0);

	return fd < 0 ? error_set(err, -errno, "%s", transport->path) : fd;
}

static int take_over(struct transport *transport)
{
	struct shared *shared = shared_of(transport);
	int fd = nbd_server_file_take_over(shared->id, NULL);

	if (fd < 0)
		return fd;
	shared->server_fd = fd;
	if (!nbd_is_connected(shared->id) || nbd_server_file_has_ended(shared->id))
		return -ENODEV;
	return prepare(shared);
}

static int quiesce(struct transport *transport)
{
	const struct shared *shared = shared_of(transport);

	if (!shared->description.info.recovery)
		return -EINVAL;
	return nbd_server_file_ask(shared->id);
}

/* The queues are connected when they are opened. */
static int end_recovery(struct transport *transport)
{
	struct shared *shared = shared_of(transport);

	shared->served = true;
	return nbd_is_connected(shared->id) ? 0 : -ENODEV;
}

const struct transport_ops transport_nbd = {
	.driver = TRANSPORT_NBD,
	.name = "nbd",
	.disk_name = DISK_NAME,
	.module = "nbd",
	.node = "/sys/module/nbd",
	.uuid_bytes = sizeof(((struct identity *)0)->uuid),
	.notions = TRANSPORT_SERIALS | TRANSPORT_REQUEST_TIMEOUTS | TRANSPORT_RECOVERY_TIMEOUTS |
		   TRANSPORT_TELLS_OF_STOP,
	.get_features = get_features,
	.list = list,
	.add = add,
	.open = open_device,
	.clone = clone_handle,
	.free = free_handle,
	.get_info = get_info,
	.set_params = set_params,
	.get_params = get_params,
	.get_identity = get_identity,
	.request_timeout = request_timeout,
	.open_server_file = open_server_file,
	.open_queue = open_queue,
	.start = start,
	.stop = stop,
	.delete = delete,
	.resize = resize,
	.quiesce = quiesce,
	.take_over = take_over,
	.end_recovery = end_recovery,
};
