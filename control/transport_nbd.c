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
 *      the server's keeper does that (nbd_orphan.h).
 */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "align.h"
#include "disk_mark.h"
#include "disk_opener.h"
#include "disk_write_back.h"
#include "error.h"
#include "nbd_attach.h"
#include "nbd_description.h"
#include "nbd_disk.h"
#include "nbd_netlink.h"
#include "nbd_orphan.h"
#include "nbd_server_file.h"
#include "nbd_sysfs.h"

#define DISK_NAME  "nbd"
#define MAX_ID	   UINT16_MAX

#define REISSUE_MS 2000

/*
 * How long to wait for what others do in passing, such as udev's look at a disk, while there are
 * other devices to choose from.
 */
#define PAUSE_US   50000
#define PASSING_US (2 * G_USEC_PER_SEC)

/* What the handles of a device share. */
struct shared {
	gatomicrefcount refs;
	struct nbd_netlink *netlink; /* NULL: given to the keeper */
	uint32_t id;
	_Atomic bool started; /* the kernel has the device */
	/* As of nbd_connection(): other programs, which mind no lock, may make the next. 0: none.
	 */
	_Atomic uint64_t connection;
	_Atomic bool served; /* and the queues answer, so others may have written to it */
	struct nbd_attach attach;
	bool attached;
	char *opener; /* a process that had the disk open; NULL: none is known */
	struct nbd_description description;
	int server_fd; /* -1: this is neither the server nor its keeper */
	int server_pid;
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
		error_refuse(err, -ENOENT, "nbd.ko is not loaded; load the driver: modprobe nbd");
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

/* The device that the handle is of; not whatever has its number. */
static bool is_connected(const struct shared *shared)
{
	uint64_t connection = nbd_connection(shared->id);

	return connection && connection == shared->connection;
}

/* ---- handles ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_server_file(struct shared *shared)
{
	if (shared->server_fd >= 0)
		nbd_server_file_close(shared->server_fd);
	shared->server_fd = -1;
}

static void shared_unref(struct shared *shared)
{
	if (!g_atomic_ref_count_dec(&shared->refs))
		return;
	nbd_attach_end(&shared->attach);
	g_free(shared->opener);
	close_server_file(shared);
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
	shared->server_fd = -1;
	shared->server_pid = getpid();
	return shared;
}

/* Takes the reference. */
static struct transport *handle_new(struct shared *shared)
{
	struct nbd_device *device = g_new(struct nbd_device, 1);

	transport_init(&device->transport, &transport_nbd, shared->id);
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

/* ---- the handle of the server's keeper ---- */

/* The lock of the server's file stays with this process. */
static int give(const struct transport *transport, struct transport_seed *ret_seed)
{
	const struct shared *shared = shared_of(transport);

	ret_seed->id = shared->id;
	ret_seed->started = shared->started;
	ret_seed->info = shared->description.info;
	ret_seed->params = shared->description.params;
	ret_seed->identity = shared->description.identity;
	g_strlcpy(ret_seed->opener, shared->opener ?: "", sizeof(ret_seed->opener));
	return shared->server_fd;
}

static void give_up(struct transport *transport)
{
	nbd_netlink_free(g_steal_pointer(&shared_of(transport)->netlink));
}

static int prepare_attach(struct shared *shared)
{
	shared->attach = (struct nbd_attach){
		.netlink = shared->netlink,
		.description = &shared->description,
		.id = shared->id,
	};
	return nbd_attach_make_sockets(&shared->attach);
}

static struct transport *resume(const struct transport_seed *seed, int fd, GError **err)
{
	struct shared *shared = shared_new(seed->id, err);
	int res;

	if (!shared) {
		close_fd(&fd);
		return NULL;
	}
	shared->server_fd = fd;
	shared->server_pid = seed->server_pid;
	shared->started = seed->started;
	shared->connection = seed->started ? nbd_connection(seed->id) : 0;
	shared->description.info = seed->info;
	shared->description.params = seed->params;
	shared->description.identity = seed->identity;
	shared->opener = seed->opener[0] ? g_strdup(seed->opener) : NULL;
	res = prepare_attach(shared);
	if (res == 0)
		return handle_new(shared);
	error_set(err, res, "/dev/" DISK_NAME "%u", shared->id);
	shared_unref(shared);
	return NULL;
}

static int keep(struct transport *transport, pid_t server_pid)
{
	struct shared *shared = shared_of(transport);

	shared->server_pid = server_pid;
	return prepare_attach(shared);
}

static int take_server_file(const struct transport *transport, int fd, GError **err)
{
	return nbd_server_file_lock(transport->id, fd, err);
}

/*
 * The file's lock is the server's as long as it has the device, and that of a keeper that has added
 * it until the server has the file. A server may keep it when the device has been disconnected, and
 * other programs do not mind it.
 */
static bool is_given(struct transport *transport)
{
	const struct shared *shared = shared_of(transport);
	pid_t pid = nbd_server_pid(shared->id);

	return (pid == shared->server_pid || pid == getpid()) &&
	       (is_connected(shared) || !nbd_is_connected(shared->id));
}

/* Limit 3. Nothing keeps the next server from having the file, and a mark for its disk. */
static void server_ended(struct transport *transport)
{
	struct shared *shared = shared_of(transport);

	close_server_file(shared);
	nbd_orphan_end(shared->netlink, shared->id, shared->served);
	if (!is_connected(shared) && nbd_server_pid(shared->id) == -1)
		disk_mark_remove(transport->path);
}

/* ---- new devices ---- */

static int get_features(unsigned *ret_features, GError **err)
{
	*ret_features = 0;
	if (access("/sys/module/nbd", F_OK) == 0)
		return 0;
	return error_refuse(err, -ENOENT, "nbd.ko is not loaded; load the driver: modprobe nbd");
}

/* Those whose watcher died with its server, too. */
static void disconnect_orphans(struct shared *shared)
{
	g_autoptr(GArray) devices = list(NULL);

	for (unsigned i = 0; devices && i < devices->len; i++) {
		uint32_t id = g_array_index(devices, struct transport_info, i).id;

		nbd_orphan_disconnect(shared->netlink, id, nbd_orphan_is_overdue(id));
	}
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
		nbd_server_file_close(fd);
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
			close_server_file(shared);
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
	if (res == 0)
		return handle_new(shared);
	shared_unref(shared);
	return NULL;
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	shared_of(transport)->description.params = *params;
	return 0;
}

static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return nbd_request_timeout(wanted);
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
	if (!nbd_request_timeout(params->request_timeout))
		nbd_write_attribute(shared->id, "queue/io_timeout", REISSUE_MS); /* limit 2 */
	/* Without it the next server could not know what it takes over. */
	return nbd_description_read(shared->id, &kept) ? 0 : -EOPNOTSUPP;
}

static int attach(struct shared *shared)
{
	int res = shared->attached ? 0 : nbd_attach_step(&shared->attach, shared->started);

	if (!shared->started)
		shared->connection = shared->attach.connection;
	shared->attached = res == 0;
	shared->started |= shared->attached;
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
	    nbd_request_timeout(shared->description.params.request_timeout))
		return error_refuse(err, -EOPNOTSUPP,
				    "%s: nbd has a request timeout only with --queues=1",
				    transport->path);
	res = attach(shared);
	if (res < 0)
		return set_attach_error(transport, res, err);
	fd = shared->attach.ours[q_id];
	shared->attach.ours[q_id] = -1;
	return fd;
}

/* Requests have been waiting for the queues since those were opened. */
static int start(struct transport *transport)
{
	struct shared *shared = shared_of(transport);
	int res = is_connected(shared) ? adjust(shared) : -ENODEV;

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
	uint64_t connection = nbd_connection(id);
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
	shared->connection = connection;
	shared->description = description;
	transport = handle_new(shared);
	transport->ops->get_info(transport, ret_info);
	return transport;
}

static enum transport_state state_of(const struct shared *shared, int server_pid)
{
	if (!is_connected(shared))
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
	ret_info->server_pid =
		shared->server_fd >= 0 ? shared->server_pid : nbd_server_pid(shared->id);
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
	 * Of a dead server, nothing waits without recovery; our own queues may never have begun;
	 * and a server that takes the device over does not answer before its image is open.
	 */
	serves = shared->server_fd >= 0
			 ? shared->served && info.state == TRANSPORT_LIVE
			 : (info.state == TRANSPORT_LIVE &&
			    nbd_server_file_waited(shared->id) < 0) ||
				   (!info.recovery && nbd_may_have_process(shared->id));
	if (serves) {
		nbd_server_file_stop(shared->id);
		disk_write_back(transport->path);
	}
	return is_connected(shared) ? nbd_disk_end(shared->netlink, shared->id, serves) : 0;
}

static void stopped(struct transport *transport)
{
	nbd_disk_forget_partitions(shared_of(transport)->id);
}

/* The server itself has stopped it, or tried to, and does not answer any more. */
static int delete (struct transport *transport)
{
	struct shared *shared = shared_of(transport);

	if (shared->server_fd < 0)
		return stop(transport);
	return is_connected(shared) ? nbd_disk_end(shared->netlink, shared->id, false) : 0;
}

static int resize(struct transport *transport, uint64_t sectors)
{
	struct shared *shared = shared_of(transport);
	g_autofree char *backend = nbd_attribute(shared->id, "backend");

	if (!is_connected(shared))
		return -ENODEV;
	return nbd_netlink_resize(shared->netlink, shared->id, backend ?: "",
				  sectors * SECTOR_SIZE);
}

/* ---- servers ---- */

/* Closing it gives back the lock, too. A keeper gives that to the server. */
static int open_server_file(struct transport *transport, GError **err)
{
	const struct shared *shared = shared_of(transport);
	int fd = fcntl(shared->server_fd, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0 && shared->server_pid != getpid())
		nbd_server_file_unlock(shared->server_fd);
	return fd < 0 ? error_set(err, -errno, "%s", transport->path) : fd;
}

static int take_over(struct transport *transport)
{
	struct shared *shared = shared_of(transport);
	int fd = nbd_server_file_take_over(shared->id, NULL);

	if (fd < 0)
		return fd;
	shared->server_fd = fd;
	return !is_connected(shared) || nbd_server_file_has_ended(shared->id) ? -ENODEV : 0;
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
	nbd_server_file_live(shared->id);
	return is_connected(shared) ? 0 : -ENODEV;
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
	.stopped = stopped,
	.delete = delete,
	.resize = resize,
	.quiesce = quiesce,
	.take_over = take_over,
	.end_recovery = end_recovery,
	.give = give,
	.keep = keep,
	.take_server_file = take_server_file,
	.is_given = is_given,
	.give_up = give_up,
	.resume = resume,
	.server_ended = server_ended,
};
