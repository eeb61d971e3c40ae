// SPDX-License-Identifier: GPL-2.0-or-later
/* Operations that not all drivers have; see transport.h. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "disk_opener.h"
#include "disk_tree.h"
#include "error.h"

/*
 * sival_int is how, and the rest of sival_ptr which device, if there is a rest: 0 for all, as
 * processes that have one device send it.
 */
struct leave_value {
	uint32_t when_idle;
	uint32_t id_plus_1;
};

union sigval transport_leave_value(const struct transport_leave *leave)
{
	const struct leave_value parts = { leave->when_idle, leave->id + 1 };
	union sigval value;

	memcpy(&value, &parts, MIN(sizeof(value), sizeof(parts)));
	return value;
}

struct transport_leave transport_leave_of(union sigval value)
{
	struct leave_value parts = { 0 };

	memcpy(&parts, &value, MIN(sizeof(value), sizeof(parts)));
	return (struct transport_leave){
		.id = parts.id_plus_1 - 1,
		.when_idle = parts.when_idle == 1,
	};
}

void transport_init(struct transport *transport, const struct transport_ops *ops, uint32_t id)
{
	*transport = (struct transport){ .ops = ops, .id = id };
	g_snprintf(transport->path, sizeof(transport->path), "/dev/%s%u", ops->disk_name, id);
}

int transport_lacks(const struct transport_ops *ops, const char *what, GError **err)
{
	return error_refuse(err, -EOPNOTSUPP, "%s does not have %s", ops->name, what);
}

int transport_compare_ids(const void *a, const void *b)
{
	const struct transport_info *one = a, *other = b;

	return (one->id > other->id) - (one->id < other->id);
}

int transport_fd(const struct transport *transport)
{
	return transport->ops->fd ? transport->ops->fd(transport) : -EOPNOTSUPP;
}

int transport_set_identity(struct transport *transport, const struct identity *identity)
{
	return transport->ops->set_identity ? transport->ops->set_identity(transport, identity)
					    : -EOPNOTSUPP;
}

int transport_get_identity(struct transport *transport, struct identity *ret_identity)
{
	return transport->ops->get_identity ? transport->ops->get_identity(transport, ret_identity)
					    : -EOPNOTSUPP;
}

int transport_get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus)
{
	return transport->ops->get_queue_cpus
		       ? transport->ops->get_queue_cpus(transport, q_id, ret_cpus)
		       : -EOPNOTSUPP;
}

int transport_open_disk(struct transport *transport)
{
	int fd;

	if (transport->ops->open_disk)
		return transport->ops->open_disk(transport);
	fd = open(transport->path, O_RDWR | O_CLOEXEC);
	/* As for a descriptor of a driver that knows which disks are read-only. */
	if (fd < 0 && (errno == EROFS || errno == EACCES))
		fd = open(transport->path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The disk or one of its partitions. */
static bool is_open(const char *disk)
{
	g_autoptr(GPtrArray) names = disk_tree_find(disk), openers = NULL;
	g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);

	g_ptr_array_add(paths, g_strdup(disk));
	for (guint i = 0; i < names->len; i++)
		g_ptr_array_add(paths, disk_tree_node(names->pdata[i]));
	openers = disk_openers(paths);
	return openers->len;
}

/* After it could not be opened. A container may have the disk, but not its node. */
static bool is_gone(const char *disk, int error)
{
	g_autofree char *name = g_path_get_basename(disk);
	g_autofree char *path = g_build_filename(disk_sysfs_folder, name, NULL);

	return error == ENXIO || error == ENODEV || (error == ENOENT && access(path, F_OK) < 0);
}

/*
 * For drivers that do not know the number of openers. A claim keeps the kernel from mounting the
 * disk or a partition, and from using it for swap or for device mapper, until it has stopped; a
 * lock, udev from looking into it (systemd's "Locking Block Device Access").
 */
static int stop_if_unclaimed(struct transport *transport)
{
	int fd = open(transport->path, O_RDONLY | O_EXCL | O_CLOEXEC);
	int res;

	if (fd < 0 && errno == EBUSY)
		return -EBUSY;
	if (fd < 0 && !is_gone(transport->path, errno))
		return -EOPNOTSUPP;
	if ((fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) || is_open(transport->path))
		res = -EBUSY;
	else
		res = transport->ops->stop(transport);
	if (fd >= 0)
		close(fd);
	if (!res && transport->ops->stopped)
		transport->ops->stopped(transport);
	return res;
}

int transport_stop_if_unused(struct transport *transport)
{
	int res = transport->ops->stop_if_unused ? transport->ops->stop_if_unused(transport)
						 : -EOPNOTSUPP;

	return res == -EOPNOTSUPP ? stop_if_unclaimed(transport) : res;
}

int transport_resize(struct transport *transport, uint64_t sectors)
{
	return transport->ops->resize ? transport->ops->resize(transport, sectors) : -EOPNOTSUPP;
}

int transport_quiesce(struct transport *transport)
{
	return transport->ops->quiesce ? transport->ops->quiesce(transport) : -EOPNOTSUPP;
}

int transport_take_over(struct transport *transport)
{
	return transport->ops->take_over ? transport->ops->take_over(transport) : -EOPNOTSUPP;
}

int transport_end_recovery(struct transport *transport)
{
	return transport->ops->end_recovery ? transport->ops->end_recovery(transport) : -EOPNOTSUPP;
}
