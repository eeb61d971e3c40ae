// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Control commands to ubd.ko, each a passthrough command. Stopping a device waits for requests that
 * the queue threads serve, so nothing that those threads wait for may ever run on this thread.
 *
 * All handles of a process share a ring, which stays: a server makes it before its sandbox, in
 * which none can be made. And Linux 7.2 ends a thread's io_uring worker together with the thread's
 * last ring; a command that comes at that moment may wait for a worker for ever.
 */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "aio.h"
#include "colock.h"
#include "command_ring.h"
#include "error.h"

#define CONTROL_NODE "/dev/ubd-control"

struct control {
	struct command_ring *ring;
	int fd; /* the device's control fd; -1 before ADD_DEV */
};

static struct thread_lock making = THREAD_LOCK_INIT;
static struct command_ring *shared GLOBAL_GUARDED_BY(making);
static pid_t owner GLOBAL_GUARDED_BY(making); /* not a parent process, whose ring is not ours */

/* NULL with @err set. */
static struct command_ring *shared_ring(GError **err)
{
	struct command_ring *ring;
	int res;

	thread_lock(&making);
	if (owner != getpid()) {
		ring = g_new(struct command_ring, 1);
		res = command_ring_init(ring, 0);
		if (res < 0) {
			aio_set_ring_error(res, err);
			g_free(ring);
			shared = NULL;
		} else {
			shared = ring;
			owner = getpid();
		}
	}
	ring = shared;
	thread_unlock(&making);
	return ring;
}

int control_prepare(GError **err)
{
	return shared_ring(err) ? 0 : -1;
}

static int control_command(struct control *control, int fd, uint32_t op,
			   struct ubdsrv_ctrl_cmd *cmd)
{
	return command_ring_run(control->ring, fd, op, cmd, sizeof(*cmd), COMMAND_NO_LIMIT);
}

/* Sends a command to the device. @buf may be NULL. */
static int device_command(struct control *control, uint32_t op, void *buf, size_t len)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = len, .addr = (uintptr_t)buf };

	return control_command(control, control->fd, op, &cmd);
}

static int open_control_node(GError **err)
{
	int fd = open(CONTROL_NODE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	fd = -errno;
	if (fd == -ENOENT || fd == -ENODEV || fd == -ENXIO)
		g_set_error(err, UBD_ERROR, -fd,
			    CONTROL_NODE ": no such file; load the driver: modprobe ubd");
	else
		error_set(err, fd, CONTROL_NODE);
	return fd;
}

static void set_add_error(int res, const struct ubdsrv_ctrl_dev_info *info, GError **err)
{
	const char *what = info->flags & UBD_F_USER_RECOVERY ? "a device with recovery"
			   : info->flags		     ? "a device of this kind"
			   : info->dev_id == UBD_DEV_ID_ANY  ? "a device"
							     : "this device";

	if (res == -EPERM || res == -EACCES)
		g_set_error(err, UBD_ERROR, -res,
			    CONTROL_NODE ": not permitted to add %s (needs CAP_SYS_ADMIN)", what);
	else if (res == -EDQUOT)
		g_set_error(err, UBD_ERROR, -res,
			    CONTROL_NODE ": you have reached the limit of devices");
	else if (info->dev_id == UBD_DEV_ID_ANY)
		error_set(err, res, CONTROL_NODE ": cannot add a device");
	else if (res == -EEXIST)
		g_set_error(err, UBD_ERROR, -res, "/dev/ubdb%u: the number is in use",
			    info->dev_id);
	else
		error_set(err, res, "/dev/ubdb%u: cannot add this device", info->dev_id);
}

/* Sends a command that returns the device's control fd. */
static int get_control_fd(struct control *control, int node_fd, uint32_t op, void *buf, size_t len)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = len, .addr = (uintptr_t)buf };
	int res = control_command(control, node_fd, op, &cmd);

	if (res < 0)
		return res;
	control->fd = res;
	return 0;
}

static int add_dev(struct control *control, struct ubdsrv_ctrl_dev_info *info, GError **err)
{
	int node_fd = open_control_node(err);
	int res;

	if (node_fd < 0)
		return node_fd;
	res = get_control_fd(control, node_fd, UBD_CMD_ADD_DEV, info, sizeof(*info));
	close(node_fd);
	if (res < 0)
		set_add_error(res, info, err);
	return res;
}

static const char *open_error(int res)
{
	switch (res) {
	case -ENODEV:
		return "there is no such device";
	case -EACCES:
		return "it belongs to another user";
	default:
		return g_strerror(-res);
	}
}

static int open_dev(struct control *control, uint32_t id, GError **err)
{
	struct ubd_open_dev arg = { .dev_id = id };
	int node_fd = open_control_node(err);
	int res;

	if (node_fd < 0)
		return node_fd;
	res = get_control_fd(control, node_fd, UBD_CMD_OPEN_DEV, &arg, sizeof(arg));
	close(node_fd);
	if (res < 0)
		g_set_error(err, UBD_ERROR, -res, "/dev/ubdb%u: %s", id, open_error(res));
	return res;
}

/* Returns a handle without a device; NULL with @err set on failure. */
static struct control *control_new(GError **err)
{
	struct command_ring *ring = shared_ring(err);
	struct control *control;

	if (!ring)
		return NULL;
	control = g_new0(struct control, 1);
	control->ring = ring;
	control->fd = -1;
	return control;
}

int control_get_features(uint64_t *ret_features, GError **err)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = sizeof(*ret_features),
				       .addr = (uintptr_t)ret_features };
	struct control *control = control_new(err);
	int node_fd, res;

	if (!control)
		return -EINVAL;
	node_fd = open_control_node(err);
	if (node_fd < 0) {
		control_free(control);
		return node_fd;
	}
	res = control_command(control, node_fd, UBD_CMD_GET_FEATURES, &cmd);
	if (res < 0)
		error_set(err, res, CONTROL_NODE);
	close(node_fd);
	control_free(control);
	return res;
}

struct control *control_add_dev(struct ubdsrv_ctrl_dev_info *info, GError **err)
{
	struct control *control = control_new(err);

	if (!control)
		return NULL;
	if (add_dev(control, info, err) < 0) {
		control_free(control);
		return NULL;
	}
	return control;
}

static int get_info_of(struct control *control, uint32_t id, struct ubdsrv_ctrl_dev_info *ret_info,
		       GError **err)
{
	int res = open_dev(control, id, err);

	if (res < 0)
		return res;
	res = control_get_info(control, ret_info);
	if (res < 0)
		error_set(err, res, "/dev/ubdb%u", id);
	return res;
}

struct control *control_open_dev(uint32_t id, struct ubdsrv_ctrl_dev_info *ret_info, GError **err)
{
	struct control *control = control_new(err);

	if (!control)
		return NULL;
	if (get_info_of(control, id, ret_info, err) < 0) {
		control_free(control);
		return NULL;
	}
	return control;
}

struct control *control_adopt(int fd, struct ubdsrv_ctrl_dev_info *ret_info, GError **err)
{
	struct control *control = control_new(err);
	int res;

	if (!control) {
		close(fd);
		return NULL;
	}
	control->fd = fd;
	*ret_info = (struct ubdsrv_ctrl_dev_info){};
	res = control_get_info(control, ret_info);
	if (res == 0 && ret_info->nr_hw_queues)
		return control;
	/* Some files, such as /dev/null, accept any command. */
	if (res == 0)
		res = -EOPNOTSUPP;
	g_set_error(err, UBD_ERROR, -res, "descriptor %d: %s", fd,
		    res == -EOPNOTSUPP ? "it is not a control fd of ubd" : g_strerror(-res));
	control_free(control);
	return NULL;
}

int control_fd(const struct control *control)
{
	return control->fd;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	if (control->fd >= 0)
		close(control->fd);
	g_free(control);
}

int control_get_info(struct control *control, struct ubdsrv_ctrl_dev_info *ret_info)
{
	return device_command(control, UBD_CMD_GET_DEV_INFO, ret_info, sizeof(*ret_info));
}

int control_get_params(struct control *control, struct ubd_params *ret_params)
{
	return device_command(control, UBD_CMD_GET_PARAMS, ret_params, sizeof(*ret_params));
}

int control_set_params(struct control *control, const struct ubd_params *params)
{
	struct ubd_params copy = *params;

	return device_command(control, UBD_CMD_SET_PARAMS, &copy, sizeof(copy));
}

int control_get_identity(struct control *control, struct ubd_identity *ret_identity)
{
	return device_command(control, UBD_CMD_GET_IDENTITY, ret_identity, sizeof(*ret_identity));
}

int control_set_identity(struct control *control, const struct ubd_identity *identity)
{
	struct ubd_identity copy = *identity;

	return device_command(control, UBD_CMD_SET_IDENTITY, &copy, sizeof(copy));
}

int control_get_queue_affinity(struct control *control, uint16_t q_id, cpu_set_t *ret_cpus)
{
	cpu_set_t cpus;
	struct ubdsrv_ctrl_cmd cmd = {
		.queue_id = q_id,
		.len = sizeof(cpus),
		.addr = (uintptr_t)&cpus,
	};
	int res;

	CPU_ZERO(&cpus);
	res = control_command(control, control->fd, UBD_CMD_GET_QUEUE_AFFINITY, &cmd);
	if (res < 0)
		return res;
	*ret_cpus = cpus;
	return 0;
}

int control_open_char(struct control *control)
{
	return device_command(control, UBD_CMD_OPEN_CHAR, NULL, 0);
}

int control_open_block(struct control *control)
{
	return device_command(control, UBD_CMD_OPEN_BLOCK, NULL, 0);
}

int control_update_size(struct control *control, uint64_t sectors)
{
	return device_command(control, UBD_CMD_UPDATE_SIZE, &sectors, sizeof(sectors));
}

int control_start_dev(struct control *control)
{
	return device_command(control, UBD_CMD_START_DEV, NULL, 0);
}

int control_stop_dev(struct control *control)
{
	return device_command(control, UBD_CMD_STOP_DEV, NULL, 0);
}

int control_try_stop_dev(struct control *control)
{
	return device_command(control, UBD_CMD_TRY_STOP_DEV, NULL, 0);
}

int control_del_dev(struct control *control)
{
	return device_command(control, UBD_CMD_DEL_DEV, NULL, 0);
}

int control_quiesce(struct control *control)
{
	return device_command(control, UBD_CMD_QUIESCE, NULL, 0);
}

int control_take_over(struct control *control)
{
	int res = control_quiesce(control);

	/* -EBUSY: another server was about to recover it. If it still is, START_RECOVERY says so.
	 */
	if (res < 0 && res != -EBUSY)
		return res;
	return device_command(control, UBD_CMD_START_RECOVERY, NULL, 0);
}

int control_end_recovery(struct control *control)
{
	return device_command(control, UBD_CMD_END_RECOVERY, NULL, 0);
}
