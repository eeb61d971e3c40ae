// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands to ublk_drv; see ublk_command.h. */
#include "ublk_command.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aio.h"
#include "error.h"
#include "ring_limits.h"

_Static_assert(TRANSPORT_ANY_ID == UBLK_ANY_ID, "any number is the driver's");
_Static_assert(TRANSPORT_MAX_DEPTH == UBLK_MAX_DEPTH, "the depth is the driver's");
_Static_assert(sizeof(struct ublk_ctrl_cmd) == 32 && UBLK_ADD_DEV == 0xc0207504 &&
		       UBLK_GET_FEATURES == 0x80207513,
	       "commands are the driver's");
_Static_assert(sizeof(struct ublk_dev_info) == 64, "what is told of a device is the driver's");

/*
 * The control node, while there are handles that send commands: a server has none any more when the
 * keeper (keeper.h) has got its devices.
 */
static int control_fd = -1;

/* ---- commands ---- */

/* @payload may be NULL. */
int ublk_command(struct ublk_device *device, uint32_t op, void *payload, size_t len, uint64_t data,
		 unsigned limit_s)
{
	bool named = (device->named && op != UBLK_GET_FEATURES) || op == UBLK_GET_DEV_INFO2;
	char *path = (char *)device->memory;
	uint32_t id = device->transport.id;
	uint16_t path_len =
		named ? g_snprintf(path, UBLK_PATH_BYTES, UBLK_CHAR_NODE "%u", id) + 1 : 0;
	const struct ublk_ctrl_cmd cmd = {
		.dev_id = id,
		.queue_id = UBLK_NO_QUEUE,
		.len = path_len + len,
		.addr = (uintptr_t)device->memory,
		.data = { data },
		.dev_path_len = path_len,
	};
	int res;

	g_assert(len <= UBLK_PAYLOAD_BYTES);
	if (payload)
		memcpy(device->memory + path_len, payload, len);
	res = command_ring_run(device->ring, control_fd, op, &cmd, sizeof(cmd), limit_s);
	if (res >= 0 && payload)
		memcpy(payload, device->memory + path_len, len);
	return MIN(res, 0);
}

int ublk_simple_command(struct transport *transport, uint32_t op, uint64_t data, unsigned limit_s)
{
	return ublk_command(ublk_device_of(transport), op, NULL, 0, data, limit_s);
}

/* Commands that some kernels do not know. */
int ublk_newer_command(struct transport *transport, uint64_t feature, uint32_t op, uint64_t data)
{
	struct ublk_device *device = ublk_device_of(transport);
	uint64_t features = 0;
	int res = ublk_command(device, UBLK_GET_FEATURES, &features, sizeof(features), 0,
			       UBLK_LIMIT_SECONDS);

	if (res < 0)
		return res;
	if (!(features & feature))
		return -EOPNOTSUPP;
	return ublk_command(device, op, NULL, 0, data, COMMAND_NO_LIMIT);
}

/* ---- rings ---- */

static int open_control_node(GError **err)
{
	int error;

	if (control_fd < 0)
		control_fd = open(UBLK_CONTROL_NODE, O_RDWR | O_CLOEXEC);
	if (control_fd >= 0)
		return 0;
	error = errno;
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return error_refuse(err, -error,
				    UBLK_CONTROL_NODE
				    ": no such file; load the driver: modprobe ublk_drv");
	return error_set(err, -error, UBLK_CONTROL_NODE);
}

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by idle_lock. */
static unsigned handles; /* that have a ring */
static GSList *idle_rings;
static GSList *stuck_devices; /* the kernel may still write to what their commands name */

/*
 * Linux 7.2 ends a thread's io_uring worker together with the thread's last ring, and a command
 * that comes at that moment may wait for a worker for ever. So a thread that has had a ring always
 * keeps one, which can do nothing.
 */
static void keep_worker(void)
{
	static __thread struct io_uring ring;
	static __thread pid_t owner; /* not a parent process, whose rings are not ours */

	if (owner == gettid() || io_uring_queue_init(1, &ring, IORING_SETUP_R_DISABLED))
		return;
	if (ring_limit(&ring, 0) == 0)
		owner = gettid();
	else
		io_uring_queue_exit(&ring);
}

static struct command_ring *new_ring(GError **err)
{
	struct command_ring *ring;
	int res = open_control_node(err);

	if (res < 0)
		return NULL;
	keep_worker();
	ring = g_new(struct command_ring, 1);
	res = command_ring_init(ring, IORING_SETUP_SQE128);
	if (res == 0)
		return ring;
	g_free(ring);
	aio_set_ring_error(res, err);
	return NULL;
}

static void free_ring(void *ring)
{
	command_ring_exit(ring);
	g_free(ring);
}

static void close_unused(void)
{
	if (handles)
		return;
	g_slist_free_full(g_steal_pointer(&idle_rings), free_ring);
	if (control_fd >= 0)
		close(control_fd);
	control_fd = -1;
}

static struct command_ring *take_ring(GError **err)
{
	struct command_ring *ring = NULL;

	pthread_mutex_lock(&idle_lock);
	if (idle_rings) {
		ring = idle_rings->data;
		idle_rings = g_slist_delete_link(idle_rings, idle_rings);
	} else {
		ring = new_ring(err);
	}
	handles += ring != NULL;
	close_unused();
	pthread_mutex_unlock(&idle_lock);
	return ring;
}

static void put_ring(struct command_ring *ring)
{
	pthread_mutex_lock(&idle_lock);
	idle_rings = g_slist_prepend(idle_rings, ring);
	handles--;
	close_unused();
	pthread_mutex_unlock(&idle_lock);
}

/* ---- handles ---- */

void ublk_device_free(struct ublk_device *device)
{
	if (device->ring && device->ring->stuck) {
		pthread_mutex_lock(&idle_lock);
		stuck_devices = g_slist_prepend(stuck_devices, device);
		pthread_mutex_unlock(&idle_lock);
		return;
	}
	ublk_device_give_up(device);
	g_free(device);
}

void ublk_device_give_up(struct ublk_device *device)
{
	if (device->ring)
		put_ring(g_steal_pointer(&device->ring));
}

unsigned ublk_end_limit(const struct transport *transport)
{
	unsigned limit_s = COMMAND_NO_LIMIT;

	pthread_mutex_lock(&idle_lock);
	for (const GSList *item = stuck_devices; item; item = item->next) {
		const struct ublk_device *device = item->data;

		if (device->transport.id == transport->id && command_ring_is_stuck(device->ring))
			limit_s = UBLK_LIMIT_SECONDS;
	}
	pthread_mutex_unlock(&idle_lock);
	return limit_s;
}

void ublk_device_set_id(struct ublk_device *device, uint32_t id)
{
	transport_init(&device->transport, device->transport.ops, id);
	device->ino = ublk_sysfs_ino(id);
}

struct ublk_device *ublk_device_new(const struct transport_ops *ops, uint32_t id, GError **err)
{
	struct command_ring *ring = take_ring(err);
	struct ublk_device *device;

	if (!ring)
		return NULL;
	device = g_new0(struct ublk_device, 1);
	device->transport.ops = ops;
	device->ring = ring;
	device->server_fd = -1;
	ublk_device_set_id(device, id);
	return device;
}

/* ---- answers ---- */

const char *ublk_sysfs_folder = "/sys/class/ublk-char";

/* sysfs numbers its folders and files, and does not use a number again. */
uint64_t ublk_sysfs_ino(uint32_t id)
{
	g_autofree char *path = g_strdup_printf("%s/ublkc%u", ublk_sysfs_folder, id);
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

int ublk_get_dev_info(struct ublk_device *device, struct ublk_dev_info *ret_wire)
{
	*ret_wire = (struct ublk_dev_info){ 0 };
	return ublk_command(device, UBLK_GET_DEV_INFO2, ret_wire, sizeof(*ret_wire), 0,
			    UBLK_LIMIT_SECONDS);
}

const char *ublk_reason(int res)
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

int ublk_kernel_features(uint64_t *ret_features, GError **err)
{
	static const struct transport_ops none = { .disk_name = UBLK_DISK_NAME };
	struct ublk_device *device = ublk_device_new(&none, UBLK_ANY_ID, err);
	int res;

	if (!device)
		return -ENODEV;
	*ret_features = 0;
	res = ublk_command(device, UBLK_GET_FEATURES, ret_features, sizeof(*ret_features), 0,
			   UBLK_LIMIT_SECONDS);
	ublk_device_free(device);
	if (res == -ETIMEDOUT)
		return error_refuse(err, res, UBLK_CONTROL_NODE ": %s", ublk_reason(res));
	if (res < 0 || !(*ret_features & UBLK_IOCTL_ENCODE))
		return error_refuse(err, -EOPNOTSUPP,
				    UBLK_CONTROL_NODE
				    ": this kernel's ublk is too old (needs Linux 6.5)");
	return 0;
}
