// SPDX-License-Identifier: GPL-2.0-or-later
/* Our own driver, ubd.ko; docs/protocol.md describes how it is spoken to. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ubd_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "disk_mark.h"
#include "error.h"
#include "transport_flags.h"

#define DISK_NAME  "ubdb"
#define SYSFS	   "/sys/class/ubd/"
#define PARAMETERS "/sys/module/ubd/parameters/"

_Static_assert(TRANSPORT_ANY_ID == UBD_DEV_ID_ANY, "any number is the driver's");
_Static_assert(TRANSPORT_NO_TIMEOUT == UBD_NO_REQUEST_TIMEOUT, "no limit is the driver's");
_Static_assert(TRANSPORT_MAX_DEPTH == UBD_MAX_QUEUE_DEPTH, "the depth is the driver's");
_Static_assert(TRANSPORT_MAX_RECOVERY_TIMEOUT == UBD_MAX_RECOVERY_TIMEOUT,
	       "the time to wait for a server is the driver's");

struct ubd_device {
	struct transport transport;
	struct control *control;
};

static struct control *control_of(const struct transport *transport)
{
	return ((const struct ubd_device *)transport)->control;
}

/* ---- devices ---- */

static const struct transport_flags bits = {
	.user_copy = UBD_F_USER_COPY,
	.zero_copy = UBD_F_ZERO_COPY,
	.batches = UBD_F_BATCH,
	.recovery = UBD_F_USER_RECOVERY,
	.reissue = UBD_F_USER_RECOVERY_REISSUE,
	.fail_io = UBD_F_USER_RECOVERY_FAIL_IO,
};

static int get_features(unsigned *ret_features, GError **err)
{
	uint64_t offered;
	int res = control_get_features(&offered, err);

	if (res < 0)
		return res;
	*ret_features = flags_to_features(&bits, offered);
	return 0;
}

static const enum transport_state states[] = {
	[UBD_S_DEV_ADDED] = TRANSPORT_ADDED,	       [UBD_S_DEV_LIVE] = TRANSPORT_LIVE,
	[UBD_S_DEV_STOPPED] = TRANSPORT_STOPPED,       [UBD_S_DEV_QUIESCED] = TRANSPORT_QUIESCED,
	[UBD_S_DEV_RECOVERING] = TRANSPORT_RECOVERING,
};

static struct ubdsrv_ctrl_dev_info wire_info(const struct transport_info *info)
{
	return (struct ubdsrv_ctrl_dev_info){
		.nr_hw_queues = info->queues,
		.queue_depth = info->depth,
		.dev_id = info->id,
		.max_io_bytes = info->max_io_bytes,
		.flags = flags_of_data(&bits, info->data) |
			 flags_of_recovery(&bits, info->recovery) |
			 (info->batches ? UBD_F_BATCH : 0) |
			 (info->no_partition_scan ? UBD_F_NO_AUTO_PART_SCAN : 0),
		.recovery_timeout = info->recovery_timeout,
	};
}

static struct transport_info info_of(const struct ubdsrv_ctrl_dev_info *wire_info)
{
	return (struct transport_info){
		.id = wire_info->dev_id,
		.queues = wire_info->nr_hw_queues,
		.depth = wire_info->queue_depth,
		.max_io_bytes = wire_info->max_io_bytes,
		.data = flags_to_data(&bits, wire_info->flags),
		.batches = wire_info->flags & UBD_F_BATCH,
		.recovery = flags_to_recovery(&bits, wire_info->flags),
		.recovery_timeout = wire_info->recovery_timeout,
		.no_partition_scan = wire_info->flags & UBD_F_NO_AUTO_PART_SCAN,
		.state = wire_info->state < G_N_ELEMENTS(states) ? states[wire_info->state]
								 : TRANSPORT_STOPPED,
		.owner_uid = wire_info->owner_uid,
		.owner_gid = wire_info->owner_gid,
		.unprivileged = wire_info->flags & UBD_F_UNPRIVILEGED,
		.lost = wire_info->flags & UBD_F_LOST,
		.stopping = wire_info->flags & UBD_F_STOPPING,
		.server_pid = wire_info->ubdsrv_pid,
		.left_ns = wire_info->left_ns,
	};
}

static struct transport *new_device(struct control *control,
				    const struct ubdsrv_ctrl_dev_info *wire_info,
				    struct transport_info *ret_info)
{
	struct ubd_device *device;

	if (!control)
		return NULL;
	device = g_new(struct ubd_device, 1);
	transport_init(&device->transport, &transport_ubd, wire_info->dev_id);
	device->control = control;
	*ret_info = info_of(wire_info);
	return &device->transport;
}

static struct transport *open_device(uint32_t id, struct transport_info *ret_info, GError **err)
{
	struct ubdsrv_ctrl_dev_info info;

	return new_device(control_open_dev(id, &info, err), &info, ret_info);
}

static struct transport *adopt(int fd, struct transport_info *ret_info, GError **err)
{
	struct ubdsrv_ctrl_dev_info info;

	return new_device(control_adopt(fd, &info, err), &info, ret_info);
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	int fd = fcntl(control_fd(control_of(transport)), F_DUPFD_CLOEXEC, 0);
	struct transport_info info;

	if (fd >= 0)
		return adopt(fd, &info, err);
	error_set(err, -errno, "%s", transport->path);
	return NULL;
}

static void free_handle(struct transport *transport)
{
	control_free(control_of(transport));
	g_free(transport);
}

static int fd_of(const struct transport *transport)
{
	return control_fd(control_of(transport));
}

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	struct ubdsrv_ctrl_dev_info info;
	int res = control_get_info(control_of(transport), &info);

	if (res == 0)
		*ret_info = info_of(&info);
	return res;
}

/* By the control fd: the node /dev/ubdcN may be out of reach, as it is in a container. */
static int open_server_file(struct transport *transport, GError **err)
{
	int fd = control_open_char(control_of(transport));

	if (fd >= 0)
		return fd;
	return error_set(err, fd, "/dev/ubdc%u", transport->id);
}

static int open_disk(struct transport *transport)
{
	return control_open_block(control_of(transport));
}

static int get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus)
{
	return control_get_queue_affinity(control_of(transport), q_id, ret_cpus);
}

static int start(struct transport *transport)
{
	return control_start_dev(control_of(transport));
}

static int stop(struct transport *transport)
{
	return control_stop_dev(control_of(transport));
}

/* The mark goes between the disk and its number, which the next disk may have then. */
static int delete (struct transport *transport)
{
	int res = stop(transport);

	if (res == 0)
		disk_mark_remove(transport->path);
	return control_del_dev(control_of(transport));
}

static int stop_if_unused(struct transport *transport)
{
	return control_try_stop_dev(control_of(transport));
}

static int resize(struct transport *transport, uint64_t sectors)
{
	return control_update_size(control_of(transport), sectors);
}

static int quiesce(struct transport *transport)
{
	return control_quiesce(control_of(transport));
}

static int take_over(struct transport *transport)
{
	return control_take_over(control_of(transport));
}

static int end_recovery(struct transport *transport)
{
	return control_end_recovery(control_of(transport));
}

/* ---- parameters and names ---- */

static struct ubd_params wire_params(const struct device_params *params)
{
	return (struct ubd_params){
		.attrs = (params->read_only ? UBD_ATTR_READ_ONLY : 0) |
			 (params->rotational ? UBD_ATTR_ROTATIONAL : 0) |
			 (params->volatile_cache ? UBD_ATTR_VOLATILE_CACHE : 0) |
			 (params->fua ? UBD_ATTR_FUA : 0),
		.logical_block_size = params->logical_block_size,
		.physical_block_size = params->physical_block_size,
		.io_min = params->io_min,
		.io_opt = params->io_opt,
		.max_io_sectors = params->max_io_sectors,
		.discard_granularity = params->discard_granularity,
		.max_discard_sectors = params->max_discard_sectors,
		.max_write_zeroes_sectors = params->max_write_zeroes_sectors,
		.request_timeout = params->request_timeout,
		.dev_sectors = params->dev_sectors,
	};
}

static struct device_params params_of(const struct ubd_params *wire)
{
	struct device_params params = {
		.read_only = wire->attrs & UBD_ATTR_READ_ONLY,
		.rotational = wire->attrs & UBD_ATTR_ROTATIONAL,
		.volatile_cache = wire->attrs & UBD_ATTR_VOLATILE_CACHE,
		.fua = wire->attrs & UBD_ATTR_FUA,
		.logical_block_size = wire->logical_block_size,
		.physical_block_size = wire->physical_block_size,
		.io_min = wire->io_min,
		.io_opt = wire->io_opt,
		.max_io_sectors = wire->max_io_sectors,
		.discard_granularity = wire->discard_granularity,
		.max_discard_sectors = wire->max_discard_sectors,
		.max_write_zeroes_sectors = wire->max_write_zeroes_sectors,
		.request_timeout = wire->request_timeout,
		.dev_sectors = wire->dev_sectors,
	};
	struct ubd_params again = wire_params(&params);

	params.has_others = memcmp(&again, wire, sizeof(again)) != 0;
	return params;
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	struct ubd_params wire = wire_params(params);

	return control_set_params(control_of(transport), &wire);
}

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	struct ubd_params wire;
	int res = control_get_params(control_of(transport), &wire);

	if (res == 0)
		*ret_params = params_of(&wire);
	return res;
}

_Static_assert(IDENTITY_SERIAL_SIZE == UBD_SERIAL_SIZE, "serial numbers are as long");

static int set_identity(struct transport *transport, const struct identity *identity)
{
	struct ubd_identity wire = {
		.image_dev = identity->image_dev,
		.image_ino = identity->image_ino,
	};

	memcpy(wire.serial, identity->serial, sizeof(wire.serial));
	memcpy(wire.uuid, identity->uuid, sizeof(wire.uuid));
	return control_set_identity(control_of(transport), &wire);
}

static int get_identity(struct transport *transport, struct identity *ret_identity)
{
	struct ubd_identity wire;
	int res = control_get_identity(control_of(transport), &wire);

	if (res < 0)
		return res;
	*ret_identity = (struct identity){
		.image_dev = wire.image_dev,
		.image_ino = wire.image_ino,
	};
	memcpy(ret_identity->serial, wire.serial, sizeof(wire.serial));
	memcpy(ret_identity->uuid, wire.uuid, sizeof(wire.uuid));
	return 0;
}

static unsigned parameter(const char *path, unsigned unknown)
{
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ? strtoul(text, NULL, 10) : unknown;
}

/* The driver's defaults where a container does not see them. */
static unsigned request_timeout(uint32_t wanted, bool unprivileged)
{
	unsigned seconds = wanted ?: parameter(PARAMETERS "request_timeout", 0);
	unsigned limit;

	if (seconds == TRANSPORT_NO_TIMEOUT)
		seconds = 0;
	if (!unprivileged)
		return seconds;
	limit = parameter(PARAMETERS "unprivileged_timeout", 30);
	return seconds && limit ? MIN(seconds, limit) : seconds ?: limit;
}

static struct transport *add(struct transport_info *info, const struct identity *identity,
			     GError **err)
{
	struct ubdsrv_ctrl_dev_info wanted = wire_info(info);
	struct transport *transport = new_device(control_add_dev(&wanted, err), &wanted, info);
	int res = transport && identity ? set_identity(transport, identity) : 0;

	if (res == 0)
		return transport;
	error_set(err, res, "%s: cannot name the device", transport->path);
	free_handle(transport);
	return NULL;
}

/* ---- what everybody may see ---- */

static unsigned read_number(uint32_t id, const char *attribute)
{
	g_autofree char *path = g_strdup_printf(SYSFS "ubdc%u/%s", id, attribute);

	return parameter(path, 0);
}

static GArray *list(GError **err)
{
	g_autoptr(GDir) dir = g_dir_open(SYSFS, 0, NULL);
	const char *name;
	GArray *list;

	if (!dir) {
		error_refuse(err, -ENODEV,
			     "cannot find /sys/class/ubd; load the driver: modprobe ubd");
		return NULL;
	}
	list = g_array_new(FALSE, FALSE, sizeof(struct transport_info));
	while ((name = g_dir_read_name(dir))) {
		struct transport_info info = { 0 };

		if (sscanf(name, "ubdc%u", &info.id) != 1)
			continue;
		info.owner_uid = read_number(info.id, "owner_uid");
		info.unprivileged = read_number(info.id, "unprivileged");
		g_array_append_val(list, info);
	}
	g_array_sort(list, transport_compare_ids);
	return list;
}

const struct transport_ops transport_ubd = {
	.driver = TRANSPORT_UBD,
	.name = "ubd",
	.disk_name = DISK_NAME,
	.module = "ubd",
	.node = "/dev/ubd-control",
	.notions = TRANSPORT_SERIALS | TRANSPORT_NAMES | TRANSPORT_REQUEST_TIMEOUTS |
		   TRANSPORT_RECOVERY_TIMEOUTS | TRANSPORT_TELLS_OF_STOP,
	.uuid_bytes = sizeof(((struct identity *)0)->uuid),
	.get_features = get_features,
	.prepare = control_prepare,
	.list = list,
	.add = add,
	.open = open_device,
	.adopt = adopt,
	.clone = clone_handle,
	.free = free_handle,
	.fd = fd_of,
	.get_info = get_info,
	.set_params = set_params,
	.get_params = get_params,
	.set_identity = set_identity,
	.get_identity = get_identity,
	.get_queue_cpus = get_queue_cpus,
	.request_timeout = request_timeout,
	.open_server_file = open_server_file,
	.open_disk = open_disk,
	.start = start,
	.stop = stop,
	.stop_if_unused = stop_if_unused,
	.delete = delete,
	.resize = resize,
	.quiesce = quiesce,
	.take_over = take_over,
	.end_recovery = end_recovery,
};
