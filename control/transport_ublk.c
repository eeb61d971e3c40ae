// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Linux's own driver, ublk_drv, since Linux 6.5: only then it tells which features it has.
 *
 * Commands go to /dev/ublk-control and name a device by its number. If any user may have added the
 * device, they also name its char node, whose permissions decide who may control it. There is no
 * control fd to hand on, and a device whose server has died without recovery stays until it is
 * deleted, but its disk does not.
 *
 * The driver keeps 64 bits for servers: the first half of the UUID. Serial numbers, the image's
 * inode, and limits of the time that requests or devices wait have no place. Serial numbers are the
 * disk's mark for udev (disk_mark.h).
 */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk_mark.h"
#include "disk_write_back.h"
#include "error.h"
#include "transport_flags.h"
#include "ublk_command.h"
#include "ublk_handover.h"
#include "ublk_params.h"
#include "ublk_server_pid.h"

/* How often to look whether a node has come or gone. */
#define POLL_US	      (20 * 1000)
/* The same for what is usually gone at once. */
#define SHORT_POLL_US 500
/* How long udev may take to give the node to its owner. */
#define NODE_WAIT_US  (5 * G_USEC_PER_SEC)

/* How long the nodes of a deleted device may take to be closed, if nobody uses them. */
#define DELETE_WAIT_S 3

/* ---- features ---- */

static const struct transport_flags bits = {
	.user_copy = UBLK_USER_COPY,
	.zero_copy = UBLK_AUTO_BUF_REG,
	.batches = UBLK_BATCHES,
	.recovery = UBLK_RECOVERY,
	.reissue = UBLK_REISSUE,
	.fail_io = UBLK_FAIL_IO,
};

static int get_features(unsigned *ret_features, GError **err)
{
	uint64_t offered;
	int res = ublk_kernel_features(&offered, err);

	if (res < 0)
		return res;
	*ret_features = flags_to_features(&bits, offered);
	return 0;
}

/* ---- what is told about a device ---- */

static const enum transport_state states[] = {
	/* Not yet started, too: the driver does not tell. */
	[UBLK_S_DEAD] = TRANSPORT_STOPPED,
	[UBLK_S_LIVE] = TRANSPORT_LIVE,
	[UBLK_S_QUIESCED] = TRANSPORT_QUIESCED,
	[UBLK_S_FAIL_IO] = TRANSPORT_QUIESCED,
};

static struct transport_info info_of(const struct ublk_dev_info *wire)
{
	return (struct transport_info){
		.id = wire->dev_id,
		.queues = wire->nr_hw_queues,
		.depth = wire->queue_depth,
		.max_io_bytes = wire->max_io_buf_bytes,
		.data = flags_to_data(&bits, wire->flags),
		.batches = wire->flags & UBLK_BATCHES,
		.recovery = flags_to_recovery(&bits, wire->flags),
		.no_partition_scan = wire->flags & UBLK_NO_PARTITIONS,
		.state = wire->state < G_N_ELEMENTS(states) ? states[wire->state]
							    : TRANSPORT_STOPPED,
		.owner_uid = wire->owner_uid,
		.owner_gid = wire->owner_gid,
		.unprivileged = wire->flags & UBLK_UNPRIVILEGED,
		.server_pid = -1,
	};
}

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	struct ublk_dev_info wire;
	int res = ublk_get_dev_info(ublk_device_of(transport), &wire);

	if (res < 0)
		return res;
	*ret_info = info_of(&wire);
	ret_info->server_pid = ublk_server_pid(ublk_device_of(transport), &wire);
	return 0;
}

static int get_identity(struct transport *transport, struct identity *ret_identity)
{
	struct ublk_dev_info wire;
	int res = ublk_get_dev_info(ublk_device_of(transport), &wire);

	if (res < 0)
		return res;
	*ret_identity = (struct identity){ 0 };
	memcpy(ret_identity->uuid, &wire.server_flags, sizeof(wire.server_flags));
	return 0;
}

/* ---- new and known devices ---- */

static int refuse_lacking(const struct transport_info *info, uint64_t offered, GError **err)
{
	uint64_t wanted = flags_of_data(&bits, info->data) |
			  flags_of_recovery(&bits, info->recovery) |
			  (info->batches ? UBLK_BATCHES : 0);

	if (flags_of_recovery(&bits, info->recovery) & ~offered)
		return transport_lacks(&transport_ublk, "this mode of recovery on this kernel",
				       err);
	if (info->no_partition_scan && !(offered & UBLK_NO_PARTITIONS))
		return transport_lacks(&transport_ublk,
				       "disks without partition scan on this kernel", err);
	if (wanted & ~offered)
		return transport_lacks(&transport_ublk, "this way to transfer data on this kernel",
				       err);
	return 0;
}

static void set_add_error(int res, uint32_t id, GError **err)
{
	if (res == -EPERM || res == -EACCES)
		error_refuse(err, res,
			     UBLK_CONTROL_NODE
			     ": not permitted to add this device (needs CAP_SYS_ADMIN)");
	else if (id == UBLK_ANY_ID)
		error_refuse(err, res, UBLK_CONTROL_NODE ": cannot add a device: %s",
			     ublk_reason(res));
	else if (res == -EEXIST)
		error_refuse(err, res, "/dev/" UBLK_DISK_NAME "%u: the number is in use", id);
	else
		error_refuse(err, res, "/dev/" UBLK_DISK_NAME "%u: cannot add this device: %s", id,
			     ublk_reason(res));
}

static int add_device(struct ublk_device *device, struct ublk_dev_info *wire)
{
	struct ublk_dev_info again = *wire;
	int res = ublk_command(device, UBLK_ADD_DEV, wire, sizeof(*wire), 0, UBLK_LIMIT_SECONDS);

	/* Without CAP_SYS_ADMIN, only devices of this kind may be added; they have no recovery. */
	if (res != -EPERM || wire->flags & UBLK_RECOVERY)
		return res;
	*wire = again;
	wire->flags |= UBLK_UNPRIVILEGED;
	return ublk_command(device, UBLK_ADD_DEV, wire, sizeof(*wire), 0, UBLK_LIMIT_SECONDS);
}

/*
 * With RECOVERY_FAIL, a server that leaves must not give up requests, which takes QUIESCE_DEV (see
 * add()). With RECOVERY_REISSUE they come back, and with RECOVERY_FAIL_IO they fail in any case.
 */
static uint64_t batch_flag(const struct transport_info *info)
{
	return info->batches && info->recovery != RECOVERY_FAIL ? UBLK_BATCHES : 0;
}

static char *char_node(const struct ublk_device *device)
{
	return g_strdup_printf(UBLK_CHAR_NODE "%u", device->transport.id);
}

/*
 * Commands to the device of an unprivileged user take access to its node. devtmpfs makes the node
 * root's, and udev gives it to its owner. If nobody does, the next command is refused.
 */
static void wait_for_node(const struct ublk_device *device)
{
	g_autofree char *name = char_node(device);
	gint64 end = g_get_monotonic_time() + NODE_WAIT_US;

	while (eaccess(name, R_OK | W_OK) < 0 && g_get_monotonic_time() < end)
		g_usleep(POLL_US);
}

static struct transport *add(struct transport_info *info, const struct identity *identity,
			     GError **err)
{
	struct ublk_dev_info wire = {
		.nr_hw_queues = info->queues,
		.queue_depth = info->depth,
		.dev_id = info->id,
		.max_io_buf_bytes = info->max_io_bytes,
		.flags = UBLK_IOCTL_ENCODE | flags_of_data(&bits, info->data) |
			 flags_of_recovery(&bits, info->recovery) | batch_flag(info) |
			 (info->no_partition_scan ? UBLK_NO_PARTITIONS : 0),
	};
	struct ublk_device *device;
	uint64_t offered;
	int res;

	if (ublk_kernel_features(&offered, err) < 0 || refuse_lacking(info, offered, err) < 0)
		return NULL;
	/* In batches, QUIESCE_DEV fails requests that come meanwhile, whatever the recovery. */
	if (info->recovery && !(wire.flags & UBLK_BATCHES))
		wire.flags |= offered & UBLK_CAN_QUIESCE;
	device = ublk_device_new(&transport_ublk, info->id, err);
	if (!device)
		return NULL;
	if (identity)
		memcpy(&wire.server_flags, identity->uuid, sizeof(wire.server_flags));
	res = add_device(device, &wire);
	if (res < 0) {
		set_add_error(res, info->id, err);
		ublk_device_free(device);
		return NULL;
	}
	ublk_device_set_id(device, wire.dev_id);
	device->named = wire.flags & UBLK_UNPRIVILEGED;
	if (device->named)
		wait_for_node(device);
	*info = info_of(&wire);
	return &device->transport;
}

/* Commands name a number, which may be another device's by now. */
static bool is_same(const struct ublk_device *device)
{
	return ublk_sysfs_ino(device->transport.id) == device->ino;
}

static struct transport *open_device(uint32_t id, struct transport_info *ret_info, GError **err)
{
	struct ublk_device *device = ublk_device_new(&transport_ublk, id, err);
	int res;

	if (!device)
		return NULL;
	res = get_info(&device->transport, ret_info);
	if (res == 0) {
		device->named = ret_info->unprivileged;
		return &device->transport;
	}
	error_refuse(err, res, "/dev/" UBLK_DISK_NAME "%u: %s", id, ublk_reason(res));
	ublk_device_free(device);
	return NULL;
}

static void free_handle(struct transport *transport)
{
	ublk_device_free(ublk_device_of(transport));
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	struct ublk_device *device = ublk_device_new(&transport_ublk, transport->id, err);

	if (!device)
		return NULL;
	device->ino = ublk_device_of(transport)->ino;
	device->named = ublk_device_of(transport)->named;
	device->serves = ublk_device_of(transport)->serves;
	device->server_pid = ublk_device_of(transport)->server_pid;
	device->opener_pid = ublk_device_of(transport)->opener_pid;
	device->server_fd = ublk_device_of(transport)->server_fd;
	return &device->transport;
}

/* ---- the handle of the server's keeper ---- */

static int give(const struct transport *transport, struct transport_seed *ret_seed)
{
	ret_seed->id = transport->id;
	ret_seed->server_fd = ublk_device_of(transport)->server_fd;
	ret_seed->info.unprivileged = ublk_device_of(transport)->named;
	return -1;
}

static void give_up(struct transport *transport)
{
	ublk_device_give_up(ublk_device_of(transport));
}

static int keep(struct transport *transport, pid_t server_pid)
{
	struct ublk_device *device = ublk_device_of(transport);

	device->serves = true;
	device->server_pid = server_pid;
	return device->ino ? 0 : -ENOENT;
}

static struct transport *resume(const struct transport_seed *seed, int fd, GError **err)
{
	struct ublk_device *device = ublk_device_new(&transport_ublk, seed->id, err);

	if (fd >= 0)
		close(fd);
	if (!device)
		return NULL;
	device->named = seed->info.unprivileged;
	device->server_fd = seed->server_fd;
	if (keep(&device->transport, seed->server_pid) == 0)
		return &device->transport;
	error_refuse(err, -ENOENT, "%s has no device %u", ublk_sysfs_folder, seed->id);
	ublk_device_free(device);
	return NULL;
}

static bool is_given(struct transport *transport)
{
	struct ublk_device *device = ublk_device_of(transport);
	struct ublk_dev_info wire;
	int pid;

	if (ublk_get_dev_info(device, &wire) < 0)
		return false;
	pid = ublk_server_pid(device, &wire);
	return (pid <= 0 || pid == device->server_pid) && is_same(device);
}

static GArray *list(GError **err)
{
	g_autoptr(GDir) dir = g_dir_open(ublk_sysfs_folder, 0, NULL);
	const char *name;
	GArray *list;

	if (!dir) {
		error_refuse(err, -ENODEV, "cannot find %s; load the driver: modprobe ublk_drv",
			     ublk_sysfs_folder);
		return NULL;
	}
	list = g_array_new(FALSE, FALSE, sizeof(struct transport_info));
	while ((name = g_dir_read_name(dir))) {
		struct transport_info info = { 0 };

		if (sscanf(name, "ublkc%u", &info.id) == 1)
			g_array_append_val(list, info);
	}
	g_array_sort(list, transport_compare_ids);
	return list;
}

/* ---- parameters ---- */

static void round_params(struct device_params *params)
{
	const struct ublk_params wire = ublk_params_to_wire(params);

	*params = ublk_params_from_wire(&wire);
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	struct ublk_params wire = ublk_params_to_wire(params);

	return ublk_command(ublk_device_of(transport), UBLK_SET_PARAMS, &wire, sizeof(wire), 0,
			    UBLK_LIMIT_SECONDS);
}

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	struct ublk_params wire = { .len = sizeof(wire) };
	int res = ublk_command(ublk_device_of(transport), UBLK_GET_PARAMS, &wire, sizeof(wire), 0,
			       UBLK_LIMIT_SECONDS);

	if (res == 0)
		*ret_params = ublk_params_from_wire(&wire);
	return res;
}

static int get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus)
{
	cpu_set_t cpus;
	int res;

	CPU_ZERO(&cpus);
	res = ublk_command(ublk_device_of(transport), UBLK_GET_AFFINITY, &cpus, sizeof(cpus), q_id,
			   UBLK_LIMIT_SECONDS);
	if (res == 0)
		*ret_cpus = cpus;
	return res;
}

/* Only the server of an unprivileged device is killed, after blk-mq's 30 seconds. */
static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return unprivileged ? 30 : 0;
}

/* Somebody may have deleted the device. */
static void server_ended(struct transport *transport)
{
	struct transport_info info;

	if (get_info(transport, &info) == -ENODEV)
		disk_mark_remove(transport->path);
}

/* ---- life ---- */

static int open_server_file(struct transport *transport, GError **err)
{
	struct ublk_device *device = ublk_device_of(transport);
	g_autofree char *name = char_node(device);
	int fd = open(name, O_RDWR | O_CLOEXEC);

	device->serves = fd >= 0;
	device->opener_pid = getpid();
	/* The server's keeper passes it on. */
	device->server_fd = device->server_pid ? -1 : MAX(fd, -1);
	return fd >= 0 ? fd : error_set(err, -errno, "%s", name);
}

/* Kernels since 6.17 do not believe that it is any other process than that which has the file. */
static int server_pid(const struct transport *transport)
{
	const struct ublk_device *device = ublk_device_of(transport);

	return device->opener_pid ?: device->server_pid ?: getpid();
}

static int start(struct transport *transport)
{
	return ublk_simple_command(transport, UBLK_START_DEV, server_pid(transport),
				   UBLK_START_LIMIT);
}

/*
 * STOP_DEV fails what is written while the disk goes, even by a server that answers, if the device
 * could wait for another server. That takes as long as the server likes. -ENODEV: the device has
 * gone meanwhile.
 */
static int write_back(struct transport *transport)
{
	struct transport_info info;

	if (get_info(transport, &info) == 0 && info.recovery && info.state == TRANSPORT_LIVE)
		disk_write_back(transport->path);
	return is_same(ublk_device_of(transport)) ? 0 : -ENODEV;
}

static int stop_now(struct transport *transport)
{
	return ublk_simple_command(transport, UBLK_STOP_DEV, 0, ublk_end_limit(transport));
}

static int stop(struct transport *transport)
{
	return write_back(transport) ?: stop_now(transport);
}

static int stop_if_unused(struct transport *transport)
{
	return ublk_newer_command(transport, UBLK_CAN_TRY_STOP, UBLK_TRY_STOP_DEV, 0);
}

/* Kernels do not take DEL_DEV_ASYNC for unprivileged devices. DEL_DEV waits until the device goes.
 */
static int remove_device(struct transport *transport)
{
	int res = ublk_simple_command(transport, UBLK_DEL_DEV_ASYNC, 0, ublk_end_limit(transport));

	if (res != -EINVAL || !ublk_device_of(transport)->named)
		return res;
	res = ublk_simple_command(transport, UBLK_DEL_DEV, 0, DELETE_WAIT_S);
	return res == -ETIMEDOUT ? 0 : res;
}

/* sysfs shows no device that is going. */
static bool is_anothers(const struct transport *transport)
{
	uint64_t ino = ublk_sysfs_ino(transport->id);

	return ino && ino != ublk_device_of(transport)->ino;
}

/*
 * The device goes when nobody has its nodes open any more. That may be long after, if a file system
 * is mounted; otherwise it is soon, and then its number is free. A server may have many to delete.
 */
static void wait_until_gone(struct transport *transport)
{
	gint64 end = g_get_monotonic_time() + DELETE_WAIT_S * G_USEC_PER_SEC;
	struct transport_info info;
	gulong pause_us = SHORT_POLL_US;

	while (get_info(transport, &info) == 0 && !is_anothers(transport) &&
	       g_get_monotonic_time() < end) {
		g_usleep(pause_us);
		pause_us = MIN(2 * pause_us, POLL_US);
	}
}

/*
 * The server itself has stopped it, or tried to, and does not answer any more. The mark goes
 * between the disk and its number, which the next disk may have then.
 */
static int delete (struct transport *transport)
{
	int res = ublk_device_of(transport)->serves ? 0 : write_back(transport);

	if (res < 0)
		return res;
	if (stop_now(transport) == 0)
		disk_mark_remove(transport->path);
	res = remove_device(transport);
	if (res < 0)
		return res;
	wait_until_gone(transport);
	return 0;
}

static int resize(struct transport *transport, uint64_t sectors)
{
	return ublk_newer_command(transport, UBLK_CAN_RESIZE, UBLK_UPDATE_SIZE, sectors);
}

static int end_recovery(struct transport *transport)
{
	return ublk_simple_command(transport, UBLK_END_RECOVERY, server_pid(transport),
				   UBLK_START_LIMIT);
}

const struct transport_ops transport_ublk = {
	.driver = TRANSPORT_UBLK,
	.name = "ublk",
	.disk_name = UBLK_DISK_NAME,
	.module = "ublk_drv",
	.node = UBLK_CONTROL_NODE,
	.uuid_bytes = sizeof(uint64_t),
	.notions = TRANSPORT_SERIALS,
	.get_features = get_features,
	.list = list,
	.add = add,
	.open = open_device,
	.clone = clone_handle,
	.free = free_handle,
	.get_info = get_info,
	.set_params = set_params,
	.get_params = get_params,
	.round_params = round_params,
	.get_identity = get_identity,
	.get_queue_cpus = get_queue_cpus,
	.request_timeout = request_timeout,
	.open_server_file = open_server_file,
	.start = start,
	.stop = stop,
	.stop_if_unused = stop_if_unused,
	.delete = delete,
	.resize = resize,
	.quiesce = ublk_quiesce,
	.take_over = ublk_take_over,
	.end_recovery = end_recovery,
	.give = give,
	.keep = keep,
	.is_given = is_given,
	.give_up = give_up,
	.resume = resume,
	.server_ended = server_ended,
};
