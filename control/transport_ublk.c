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
 * inode, and limits of the time that requests or devices wait have no place.
 */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "aio.h"
#include "command_ring.h"
#include "disk_write_back.h"
#include "error.h"
#include "transport_flags.h"
#include "ublk_abi.h"

#define CONTROL_NODE   "/dev/ublk-control"
#define DISK_NAME      "ublkb"
#define SYSFS	       "/sys/class/ublk-char"
#define CHAR_NODE      "/dev/ublkc"

/*
 * Some kernels have faults because of which a command is never answered, such as 6.18.4 with
 * ADD_DEV. No command takes long but those that wait for requests or for other processes; START_DEV
 * waits for reads of the image. The limits are for machines that are very busy.
 */
#define LIMIT_SECONDS  60
#define START_LIMIT    600

/* How often to look whether the last server has gone. */
#define POLL_US	       (20 * 1000)
/* How long udev may take to give the node to its owner. */
#define NODE_WAIT_US   (5 * G_USEC_PER_SEC)

/* How long the nodes of a deleted device may take to be closed, if nobody uses them. */
#define DELETE_WAIT_US (3 * G_USEC_PER_SEC)

/* What a command reads and writes: a path, and then what the command takes. */
#define PAYLOAD_BYTES  512
#define PATH_BYTES     32

_Static_assert(TRANSPORT_ANY_ID == UBLK_ANY_ID, "any number is the driver's");
_Static_assert(TRANSPORT_MAX_DEPTH == UBLK_MAX_DEPTH, "the depth is the driver's");
_Static_assert(sizeof(struct ublk_ctrl_cmd) == 32 && UBLK_ADD_DEV == 0xc0207504 &&
		       UBLK_GET_FEATURES == 0x80207513,
	       "commands are the driver's");
_Static_assert(sizeof(struct ublk_dev_info) == 64, "what is told of a device is the driver's");

/* The memory of commands, which outlives a device whose ring is stuck. */
struct ublk_device {
	struct transport transport;
	struct command_ring *ring;
	uint32_t id;
	bool named; /* commands name the char node */
	uint8_t memory[PATH_BYTES + PAYLOAD_BYTES];
};

static struct ublk_device *device_of(const struct transport *transport)
{
	return (struct ublk_device *)transport;
}

/* ---- commands ---- */

/* @payload may be NULL. */
static int command(struct ublk_device *device, uint32_t op, void *payload, size_t len,
		   uint64_t data, unsigned limit_s)
{
	bool named = (device->named && op != UBLK_GET_FEATURES) || op == UBLK_GET_DEV_INFO2;
	char *path = (char *)device->memory;
	uint16_t path_len =
		named ? g_snprintf(path, PATH_BYTES, CHAR_NODE "%u", device->id) + 1 : 0;
	const struct ublk_ctrl_cmd cmd = {
		.dev_id = device->id,
		.queue_id = UBLK_NO_QUEUE,
		.len = path_len + len,
		.addr = (uintptr_t)device->memory,
		.data = { data },
		.dev_path_len = path_len,
	};
	int res;

	g_assert(len <= PAYLOAD_BYTES);
	if (payload)
		memcpy(device->memory + path_len, payload, len);
	res = command_ring_run(device->ring, -1, op, &cmd, sizeof(cmd), limit_s);
	if (res >= 0 && payload)
		memcpy(payload, device->memory + path_len, len);
	return MIN(res, 0);
}

static int simple_command(struct transport *transport, uint32_t op, uint64_t data, unsigned limit_s)
{
	return command(device_of(transport), op, NULL, 0, data, limit_s);
}

/* Commands that some kernels do not know. */
static int newer_command(struct transport *transport, uint64_t feature, uint32_t op, uint64_t data)
{
	struct ublk_device *device = device_of(transport);
	uint64_t features = 0;
	int res = command(device, UBLK_GET_FEATURES, &features, sizeof(features), 0, LIMIT_SECONDS);

	if (res < 0)
		return res;
	if (!(features & feature))
		return -EOPNOTSUPP;
	return command(device, op, NULL, 0, data, COMMAND_NO_LIMIT);
}

static int open_control_node(GError **err)
{
	int fd = open(CONTROL_NODE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	fd = -errno;
	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO)
		return error_refuse(
			err, fd, CONTROL_NODE ": no such file; load the driver: modprobe ublk_drv");
	return error_set(err, fd, CONTROL_NODE);
}

/* ---- rings ---- */

/*
 * Commands need CAP_SYS_ADMIN, which the server drops. So rings keep it, and those of the handles
 * that are needed later are made with the first one.
 */
#define RESERVE 4

static GMutex idle_lock;
/* Guarded by idle_lock. */
static GSList *idle_rings;
static GSList *stuck_devices; /* the kernel may still write to what their commands name */

static int add_rings(GError **err)
{
	int control = open_control_node(err), res = 0;

	if (control < 0)
		return control;
	for (unsigned i = 0; i < RESERVE && res == 0; i++) {
		struct command_ring *ring = g_new(struct command_ring, 1);

		res = command_ring_init_kept(ring, IORING_SETUP_SQE128, control);
		if (res == 0)
			idle_rings = g_slist_prepend(idle_rings, ring);
		else
			g_free(ring);
	}
	close(control);
	return res < 0 ? aio_set_ring_error(res, err), res : 0;
}

static struct command_ring *take_ring(GError **err)
{
	struct command_ring *ring = NULL;

	g_mutex_lock(&idle_lock);
	if (idle_rings || add_rings(err) == 0) {
		ring = idle_rings->data;
		idle_rings = g_slist_delete_link(idle_rings, idle_rings);
	}
	g_mutex_unlock(&idle_lock);
	return ring;
}

static void put(GSList **list, void *item)
{
	g_mutex_lock(&idle_lock);
	*list = g_slist_prepend(*list, item);
	g_mutex_unlock(&idle_lock);
}

/* ---- handles ---- */

static void free_handle(struct transport *transport)
{
	struct ublk_device *device = device_of(transport);

	if (device->ring->stuck) {
		put(&stuck_devices, device);
		return;
	}
	put(&idle_rings, device->ring);
	g_free(device);
}

/* Without a device yet, if @id is UBLK_ANY_ID. NULL with @err set on failure. */
static struct ublk_device *new_device(uint32_t id, GError **err)
{
	struct command_ring *ring = take_ring(err);
	struct ublk_device *device;

	if (!ring)
		return NULL;
	device = g_new0(struct ublk_device, 1);
	device->transport.ops = &transport_ublk;
	device->ring = ring;
	device->id = id;
	g_snprintf(device->transport.path, sizeof(device->transport.path), "/dev/" DISK_NAME "%u",
		   id);
	return device;
}

static const char *reason(int res)
{
	switch (res) {
	case -ETIMEDOUT:
		return "the driver does not answer; see the kernel's log";
	case -ENODEV:
		return "there is no such device";
	case -EPERM:
	case -EACCES:
		return "it belongs to another user";
	default:
		return g_strerror(-res);
	}
}

/* ---- features ---- */

static const struct transport_flags bits = {
	.user_copy = UBLK_USER_COPY,
	.zero_copy = UBLK_AUTO_BUF_REG,
	.batches = UBLK_BATCHES,
	.recovery = UBLK_RECOVERY,
	.reissue = UBLK_REISSUE,
	.fail_io = UBLK_FAIL_IO,
};

static int get_kernel_features(uint64_t *ret_features, GError **err)
{
	struct ublk_device *device = new_device(UBLK_ANY_ID, err);
	int res;

	if (!device)
		return -ENODEV;
	*ret_features = 0;
	res = command(device, UBLK_GET_FEATURES, ret_features, sizeof(*ret_features), 0,
		      LIMIT_SECONDS);
	free_handle(&device->transport);
	if (res == -ETIMEDOUT)
		return error_refuse(err, res, CONTROL_NODE ": %s", reason(res));
	if (res < 0 || !(*ret_features & UBLK_IOCTL_ENCODE))
		return error_refuse(err, -EOPNOTSUPP,
				    CONTROL_NODE
				    ": this kernel's ublk is too old (needs Linux 6.5)");
	return 0;
}

static int get_features(unsigned *ret_features, GError **err)
{
	uint64_t offered;
	int res = get_kernel_features(&offered, err);

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
		.server_pid = wire->ublksrv_pid > 0 ? wire->ublksrv_pid : -1,
	};
}

static int get_wire_info(struct ublk_device *device, struct ublk_dev_info *ret_wire)
{
	*ret_wire = (struct ublk_dev_info){ 0 };
	return command(device, UBLK_GET_DEV_INFO2, ret_wire, sizeof(*ret_wire), 0, LIMIT_SECONDS);
}

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	struct ublk_dev_info wire;
	int res = get_wire_info(device_of(transport), &wire);

	if (res == 0)
		*ret_info = info_of(&wire);
	return res;
}

static int get_identity(struct transport *transport, struct identity *ret_identity)
{
	struct ublk_dev_info wire;
	int res = get_wire_info(device_of(transport), &wire);

	if (res < 0)
		return res;
	*ret_identity = (struct identity){ 0 };
	memcpy(ret_identity->uuid, &wire.server_flags, sizeof(wire.server_flags));
	return 0;
}

/* ---- new and known devices ---- */

static int refuse_lacking(const struct transport_info *info, GError **err)
{
	uint64_t wanted = flags_of_data(&bits, info->data) |
			  flags_of_recovery(&bits, info->recovery) |
			  (info->batches ? UBLK_BATCHES : 0);
	uint64_t offered;
	int res = get_kernel_features(&offered, err);

	if (res < 0)
		return res;
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
			     CONTROL_NODE
			     ": not permitted to add this device (needs CAP_SYS_ADMIN)");
	else if (id == UBLK_ANY_ID)
		error_refuse(err, res, CONTROL_NODE ": cannot add a device: %s", reason(res));
	else if (res == -EEXIST)
		error_refuse(err, res, "/dev/" DISK_NAME "%u: the number is in use", id);
	else
		error_refuse(err, res, "/dev/" DISK_NAME "%u: cannot add this device: %s", id,
			     reason(res));
}

static int add_device(struct ublk_device *device, struct ublk_dev_info *wire)
{
	struct ublk_dev_info again = *wire;
	int res = command(device, UBLK_ADD_DEV, wire, sizeof(*wire), 0, LIMIT_SECONDS);

	/* Without CAP_SYS_ADMIN, only devices of this kind may be added; they have no recovery. */
	if (res != -EPERM || wire->flags & UBLK_RECOVERY)
		return res;
	*wire = again;
	wire->flags |= UBLK_UNPRIVILEGED;
	return command(device, UBLK_ADD_DEV, wire, sizeof(*wire), 0, LIMIT_SECONDS);
}

/*
 * Requests that the driver has put aside for a batch fail when the server leaves, unless they are
 * given to the next one.
 */
static uint64_t batch_flag(const struct transport_info *info)
{
	bool fit = info->recovery == RECOVERY_NONE || info->recovery == RECOVERY_REISSUE;

	return info->batches && fit ? UBLK_BATCHES : 0;
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
	int res;

	if (refuse_lacking(info, err) < 0)
		return NULL;
	device = new_device(info->id, err);
	if (!device)
		return NULL;
	if (identity)
		memcpy(&wire.server_flags, identity->uuid, sizeof(wire.server_flags));
	res = add_device(device, &wire);
	if (res < 0) {
		set_add_error(res, info->id, err);
		free_handle(&device->transport);
		return NULL;
	}
	device->id = wire.dev_id;
	device->named = wire.flags & UBLK_UNPRIVILEGED;
	g_snprintf(device->transport.path, sizeof(device->transport.path), "/dev/" DISK_NAME "%u",
		   device->id);
	*info = info_of(&wire);
	return &device->transport;
}

static struct transport *open_device(uint32_t id, struct transport_info *ret_info, GError **err)
{
	struct ublk_device *device = new_device(id, err);
	int res;

	if (!device)
		return NULL;
	res = get_info(&device->transport, ret_info);
	if (res == 0) {
		device->named = ret_info->unprivileged;
		return &device->transport;
	}
	error_refuse(err, res, "/dev/" DISK_NAME "%u: %s", id, reason(res));
	free_handle(&device->transport);
	return NULL;
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	struct ublk_device *device = new_device(device_of(transport)->id, err);

	if (!device)
		return NULL;
	device->named = device_of(transport)->named;
	return &device->transport;
}

static GArray *list(GError **err)
{
	g_autoptr(GDir) dir = g_dir_open(SYSFS, 0, NULL);
	const char *name;
	GArray *list;

	if (!dir) {
		error_refuse(err, -ENODEV,
			     "cannot find " SYSFS "; load the driver: modprobe ublk_drv");
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

static uint8_t shift_of(uint32_t bytes)
{
	return bytes ? g_bit_storage(bytes) - 1 : 0;
}

static struct ublk_params wire_params(const struct device_params *params)
{
	bool discards = params->max_discard_sectors || params->max_write_zeroes_sectors;

	return (struct ublk_params){
		.len = sizeof(struct ublk_params),
		.types = UBLK_PARAMS_BASIC | (discards ? UBLK_PARAMS_DISCARD : 0),
		.basic = {
			.attrs = (params->read_only ? UBLK_ATTR_READ_ONLY : 0) |
				 (params->rotational ? UBLK_ATTR_ROTATIONAL : 0) |
				 (params->volatile_cache ? UBLK_ATTR_VOLATILE_CACHE : 0) |
				 (params->fua ? UBLK_ATTR_FUA : 0),
			.logical_shift = shift_of(params->logical_block_size),
			.physical_shift = shift_of(params->physical_block_size),
			.io_min_shift = shift_of(params->io_min),
			/* There is no "none", but less than a block is none. */
			.io_opt_shift = shift_of(params->io_opt ?: params->physical_block_size),
			.max_sectors = params->max_io_sectors,
			.dev_sectors = params->dev_sectors,
		},
		.discard = {
			.granularity = discards ? params->discard_granularity : 0,
			.max_discard_sectors = params->max_discard_sectors,
			.max_write_zeroes_sectors = params->max_write_zeroes_sectors,
			.max_discard_segments = params->max_discard_sectors ? 1 : 0,
		},
	};
}

static struct device_params params_of(const struct ublk_params *wire)
{
	struct device_params params = {
		.read_only = wire->basic.attrs & UBLK_ATTR_READ_ONLY,
		.rotational = wire->basic.attrs & UBLK_ATTR_ROTATIONAL,
		.volatile_cache = wire->basic.attrs & UBLK_ATTR_VOLATILE_CACHE,
		.fua = wire->basic.attrs & UBLK_ATTR_FUA,
		.logical_block_size = 1u << (wire->basic.logical_shift & 31),
		.physical_block_size = 1u << (wire->basic.physical_shift & 31),
		.io_min = 1u << (wire->basic.io_min_shift & 31),
		.io_opt = 1u << (wire->basic.io_opt_shift & 31),
		.max_io_sectors = wire->basic.max_sectors,
		.dev_sectors = wire->basic.dev_sectors,
		.has_others = (wire->types &
			       ~(UBLK_PARAMS_BASIC | UBLK_PARAMS_DISCARD | UBLK_PARAMS_DEVT)) ||
			      wire->basic.chunk_sectors || wire->basic.virt_boundary_mask,
	};

	if (wire->types & UBLK_PARAMS_DISCARD) {
		params.discard_granularity = wire->discard.granularity;
		params.max_discard_sectors = wire->discard.max_discard_sectors;
		params.max_write_zeroes_sectors = wire->discard.max_write_zeroes_sectors;
	}
	return params;
}

static void round_params(struct device_params *params)
{
	const struct ublk_params wire = wire_params(params);

	*params = params_of(&wire);
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	struct ublk_params wire = wire_params(params);

	return command(device_of(transport), UBLK_SET_PARAMS, &wire, sizeof(wire), 0,
		       LIMIT_SECONDS);
}

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	struct ublk_params wire = { .len = sizeof(wire) };
	int res = command(device_of(transport), UBLK_GET_PARAMS, &wire, sizeof(wire), 0,
			  LIMIT_SECONDS);

	if (res == 0)
		*ret_params = params_of(&wire);
	return res;
}

static int get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus)
{
	cpu_set_t cpus;
	int res;

	CPU_ZERO(&cpus);
	res = command(device_of(transport), UBLK_GET_AFFINITY, &cpus, sizeof(cpus), q_id,
		      LIMIT_SECONDS);
	if (res == 0)
		*ret_cpus = cpus;
	return res;
}

/* Only the server of an unprivileged device is killed, after blk-mq's 30 seconds. */
static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	return unprivileged ? 30 : 0;
}

/* ---- life ---- */

/* devtmpfs makes the node root's, and udev gives it to its owner. */
static int open_server_file(struct transport *transport, GError **err)
{
	const struct ublk_device *device = device_of(transport);
	g_autofree char *name = g_strdup_printf(CHAR_NODE "%u", device->id);
	gint64 end = g_get_monotonic_time() + NODE_WAIT_US;
	int fd;

	while ((fd = open(name, O_RDWR | O_CLOEXEC)) < 0 && (errno == ENOENT || errno == EACCES) &&
	       device->named && g_get_monotonic_time() < end)
		g_usleep(POLL_US);
	return fd >= 0 ? fd : error_set(err, -errno, "%s", name);
}

static int start(struct transport *transport)
{
	return simple_command(transport, UBLK_START_DEV, getpid(), START_LIMIT);
}

/*
 * STOP_DEV fails what is written while the disk goes, even by a server that answers, if the device
 * could wait for another server.
 */
static void write_back(struct transport *transport)
{
	struct transport_info info;

	if (get_info(transport, &info) == 0 && info.recovery && info.state == TRANSPORT_LIVE)
		disk_write_back(transport->path);
}

static int stop(struct transport *transport)
{
	write_back(transport);
	return simple_command(transport, UBLK_STOP_DEV, 0, COMMAND_NO_LIMIT);
}

static int stop_if_unused(struct transport *transport)
{
	return newer_command(transport, UBLK_CAN_TRY_STOP, UBLK_TRY_STOP_DEV, 0);
}

/*
 * The device goes when nobody has its nodes open any more. That may be long after, if a file system
 * is mounted; otherwise it is soon, and then its number is free.
 */
static int delete (struct transport *transport)
{
	gint64 end = g_get_monotonic_time() + DELETE_WAIT_US;
	struct transport_info info;
	int res;

	/* The server itself has stopped it, or tried to, and does not answer any more. */
	if (get_info(transport, &info) == 0 && info.server_pid != getpid())
		write_back(transport);
	res = simple_command(transport, UBLK_DEL_DEV_ASYNC, 0, COMMAND_NO_LIMIT);
	while (res == 0 && get_info(transport, &info) == 0 && g_get_monotonic_time() < end)
		g_usleep(POLL_US);
	return res;
}

static int resize(struct transport *transport, uint64_t sectors)
{
	return newer_command(transport, UBLK_CAN_RESIZE, UBLK_UPDATE_SIZE, sectors);
}

/* Kernels before 6.16 cannot ask a server to leave. ubd-serve leaves with this signal. */
static int signal_server(struct transport *transport, int pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), res;
	struct transport_info info;

	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno;
	/* It is not a later process with the server's number. */
	res = get_info(transport, &info);
	if (res == 0 && info.server_pid == pid &&
	    syscall(SYS_pidfd_send_signal, pidfd, TRANSPORT_LEAVE_SIGNAL, NULL, 0) < 0 &&
	    errno != ESRCH)
		res = -errno;
	close(pidfd);
	return res;
}

/*
 * The driver's own way also lets the requests end that the server has. Our devices are not added
 * for it: a server that holds a request would not be told to leave it.
 */
static int ask_to_leave(struct transport *transport, int pid)
{
	int res = newer_command(transport, UBLK_CAN_QUIESCE, UBLK_QUIESCE_DEV, 0);

	return res == -EOPNOTSUPP ? signal_server(transport, pid) : res;
}

/* Returns when the device has no server; -errno if it has ended. */
static int quiesce(struct transport *transport)
{
	struct transport_info info;
	int res = get_info(transport, &info);

	if (res < 0)
		return res;
	if (!info.recovery || info.state == TRANSPORT_STOPPED)
		return -EINVAL;
	if (info.state == TRANSPORT_LIVE)
		res = ask_to_leave(transport, info.server_pid);
	while (res == 0 && info.state == TRANSPORT_LIVE) {
		g_usleep(POLL_US);
		res = get_info(transport, &info);
	}
	return res ?: info.state == TRANSPORT_STOPPED ? -ENODEV : 0;
}

/* -EBUSY: the last server's file is still open, or another server is about to recover it. */
static int take_over(struct transport *transport)
{
	struct ublk_dev_info wire;
	int res = get_wire_info(device_of(transport), &wire);

	if (res < 0)
		return res;
	/* Another program's device, whose server must not be asked to leave in vain. */
	if (wire.flags & UBLK_OTHER_WAYS)
		return -EOPNOTSUPP;
	do {
		res = quiesce(transport);
		if (res == 0)
			res = simple_command(transport, UBLK_START_RECOVERY, 0, LIMIT_SECONDS);
		if (res == -EBUSY)
			g_usleep(POLL_US);
	} while (res == -EBUSY);
	return res;
}

static int end_recovery(struct transport *transport)
{
	return simple_command(transport, UBLK_END_RECOVERY, getpid(), START_LIMIT);
}

const struct transport_ops transport_ublk = {
	.driver = TRANSPORT_UBLK,
	.name = "ublk",
	.disk_name = DISK_NAME,
	.module = "ublk_drv",
	.node = CONTROL_NODE,
	.uuid_bytes = sizeof(uint64_t),
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
	.quiesce = quiesce,
	.take_over = take_over,
	.end_recovery = end_recovery,
};
