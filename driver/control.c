// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control fds. A control file is the authority over one device (R2): whoever holds it may use all
 * the commands here, and so may anyone it is passed to (R3). No command names a device by number.
 */
#include <linux/anon_inodes.h>
#include <linux/cpumask.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "ubd.h"

/* A control file. */
struct ubd_control {
	struct ubd_device *dev;
	u32 seen; /* nr_changes as of this file's last GET_DEV_INFO */
};

int ubd_ctrl_begin(struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_ctrl_args *ret_args)
{
	const struct ubdsrv_ctrl_cmd *sqe = ubd_cmd_sqe(cmd, struct ubdsrv_ctrl_cmd);

	if (issue_flags & IO_URING_F_NONBLOCK)
		return -EAGAIN;
	if (ubd_cmd_flags(cmd) || READ_ONCE(sqe->reserved))
		return -EINVAL;
	ret_args->queue_id = READ_ONCE(sqe->queue_id);
	ret_args->len = READ_ONCE(sqe->len);
	ret_args->buf = u64_to_user_ptr(READ_ONCE(sqe->addr));
	if (ret_args->queue_id && cmd->cmd_op != UBD_CMD_GET_QUEUE_AFFINITY)
		return -EINVAL;
	return 0;
}

int ubd_ctrl_copy_in(const struct ubd_ctrl_args *args, void *ret_data, size_t size)
{
	if (args->len != size)
		return -EINVAL;
	return copy_from_user(ret_data, args->buf, size) ? -EFAULT : 0;
}

int ubd_ctrl_copy_out(const struct ubd_ctrl_args *args, const void *data, size_t size)
{
	if (args->len != size)
		return -EINVAL;
	return copy_to_user(args->buf, data, size) ? -EFAULT : 0;
}

u32 ubd_device_info(struct ubd_device *dev, struct ubdsrv_ctrl_dev_info *ret_info)
{
	struct user_namespace *ns = current_user_ns();
	u32 nr_changes;

	*ret_info = (struct ubdsrv_ctrl_dev_info){
		.nr_hw_queues = dev->tag_set.nr_hw_queues,
		.queue_depth = dev->tag_set.queue_depth,
		.dev_id = dev->id,
		.max_io_bytes = dev->max_io_bytes,
		.flags = dev->features,
		.ubdsrv_pid = -1,
		.owner_uid = from_kuid_munged(ns, dev->owner_uid),
		.owner_gid = from_kgid_munged(ns, dev->owner_gid),
		.recovery_timeout = dev->recovery_timeout,
	};
	spin_lock(&dev->lock);
	nr_changes = dev->nr_changes;
	if (test_bit(UBD_LOST, &dev->flags))
		ret_info->flags |= UBD_F_LOST;
	ret_info->state = dev->state;
	if (ubd_is_ending(dev))
		ret_info->flags |= UBD_F_STOPPING;
	ret_info->left_ns = dev->left_ns;
	if (dev->opener)
		ret_info->ubdsrv_pid = pid_vnr(dev->opener);
	spin_unlock(&dev->lock);
	return nr_changes;
}

static int ubd_ctrl_get_info(struct ubd_control *control, const struct ubd_ctrl_args *args)
{
	struct ubdsrv_ctrl_dev_info info;
	u32 nr_changes = ubd_device_info(control->dev, &info);
	int err = ubd_ctrl_copy_out(args, &info, sizeof(info));

	if (!err)
		WRITE_ONCE(control->seen, nr_changes);
	return err;
}

static int ubd_ctrl_set_params(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	struct ubd_params params;
	int err;

	err = ubd_ctrl_copy_in(args, &params, sizeof(params));
	return err ? err : ubd_device_set_params(dev, &params);
}

static int ubd_ctrl_get_params(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	struct ubd_params params;

	spin_lock(&dev->lock);
	params = dev->params;
	spin_unlock(&dev->lock);
	return ubd_ctrl_copy_out(args, &params, sizeof(params));
}

static int ubd_ctrl_set_identity(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	struct ubd_identity identity;
	int err;

	err = ubd_ctrl_copy_in(args, &identity, sizeof(identity));
	return err ? err : ubd_device_set_identity(dev, &identity);
}

static int ubd_ctrl_get_identity(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	struct ubd_identity identity;

	ubd_device_get_identity(dev, &identity);
	return ubd_ctrl_copy_out(args, &identity, sizeof(identity));
}

static int ubd_ctrl_update_size(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	u64 sectors;
	int err;

	err = ubd_ctrl_copy_in(args, &sectors, sizeof(sectors));
	return err ? err : ubd_device_update_size(dev, sectors);
}

static int ubd_ctrl_get_affinity(struct ubd_device *dev, const struct ubd_ctrl_args *args)
{
	const unsigned int *queue_of = dev->tag_set.map[HCTX_TYPE_DEFAULT].mq_map;
	size_t size = min_t(size_t, args->len, cpumask_size());
	cpumask_var_t mask;
	unsigned int cpu;
	int err = 0;

	if (args->queue_id >= dev->tag_set.nr_hw_queues || args->len % sizeof(u64) ||
	    args->len * BITS_PER_BYTE < nr_cpu_ids)
		return -EINVAL;
	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		if (queue_of[cpu] == args->queue_id)
			cpumask_set_cpu(cpu, mask);

	if (copy_to_user(args->buf, cpumask_bits(mask), size) ||
	    clear_user(args->buf + size, args->len - size))
		err = -EFAULT;
	free_cpumask_var(mask);
	return err;
}

/* Commands without a buffer. */
static int ubd_ctrl_act(struct ubd_device *dev, const struct ubd_ctrl_args *args,
			int (*act)(struct ubd_device *dev))
{
	return args->len || args->buf ? -EINVAL : act(dev);
}

/* Commands that return a descriptor of the file that @open makes. */
static int ubd_ctrl_open(struct ubd_device *dev, const struct ubd_ctrl_args *args,
			 struct file *(*open)(struct ubd_device *dev))
{
	struct file *file;
	int fd;

	if (args->len || args->buf)
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = open(dev);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static int ubd_control_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_control *control = cmd->file->private_data;
	struct ubd_device *dev = control->dev;
	struct ubd_ctrl_args args;
	int err;

	err = ubd_ctrl_begin(cmd, issue_flags, &args);
	if (err)
		return err;
	if (test_bit(UBD_DELETED, &dev->flags))
		return -ENODEV;

	switch (cmd->cmd_op) {
	case UBD_CMD_GET_QUEUE_AFFINITY:
		return ubd_ctrl_get_affinity(dev, &args);
	case UBD_CMD_GET_DEV_INFO:
		return ubd_ctrl_get_info(control, &args);
	case UBD_CMD_GET_PARAMS:
		return ubd_ctrl_get_params(dev, &args);
	case UBD_CMD_SET_PARAMS:
		return ubd_ctrl_set_params(dev, &args);
	case UBD_CMD_SET_IDENTITY:
		return ubd_ctrl_set_identity(dev, &args);
	case UBD_CMD_GET_IDENTITY:
		return ubd_ctrl_get_identity(dev, &args);
	case UBD_CMD_UPDATE_SIZE:
		return ubd_ctrl_update_size(dev, &args);
	case UBD_CMD_START_DEV:
		return ubd_ctrl_act(dev, &args, ubd_device_start);
	case UBD_CMD_STOP_DEV:
		return ubd_ctrl_act(dev, &args, ubd_device_stop);
	case UBD_CMD_TRY_STOP_DEV:
		return ubd_ctrl_act(dev, &args, ubd_device_try_stop);
	case UBD_CMD_DEL_DEV:
		return ubd_ctrl_act(dev, &args, ubd_device_delete);
	case UBD_CMD_QUIESCE:
		return ubd_ctrl_act(dev, &args, ubd_device_quiesce);
	case UBD_CMD_START_RECOVERY:
		return ubd_ctrl_act(dev, &args, ubd_device_start_recovery);
	case UBD_CMD_END_RECOVERY:
		return ubd_ctrl_act(dev, &args, ubd_device_end_recovery);
	case UBD_CMD_OPEN_CHAR:
		return ubd_cmd_return(cmd, ubd_ctrl_open(dev, &args, ubd_char_file), issue_flags);
	case UBD_CMD_OPEN_BLOCK:
		return ubd_cmd_return(cmd, ubd_ctrl_open(dev, &args, ubd_block_file), issue_flags);
	default:
		return -EINVAL;
	}
}

/* Readable if GET_DEV_INFO through this file would report something new. */
static __poll_t ubd_control_poll(struct file *file, struct poll_table_struct *wait)
{
	struct ubd_control *control = file->private_data;
	struct ubd_device *dev = control->dev;

	poll_wait(file, &dev->wait, wait);
	if (test_bit(UBD_DELETED, &dev->flags))
		return EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	if (READ_ONCE(dev->nr_changes) != READ_ONCE(control->seen))
		return EPOLLIN | EPOLLRDNORM;
	return 0;
}

static int ubd_control_release(struct inode *inode, struct file *file)
{
	struct ubd_control *control = file->private_data;

	ubd_device_put_control(control->dev);
	ubd_device_put(control->dev);
	kfree(control);
	return 0;
}

static const struct file_operations ubd_control_fops = {
	.owner = THIS_MODULE,
	.release = ubd_control_release,
	.poll = ubd_control_poll,
	.uring_cmd = ubd_control_uring_cmd,
};

struct file *ubd_control_file(struct ubd_device *dev)
{
	struct ubd_control *control = kzalloc(sizeof(*control), GFP_KERNEL_ACCOUNT);
	struct file *file = ERR_PTR(-ENOMEM);

	if (control) {
		control->dev = dev;
		control->seen = READ_ONCE(dev->nr_changes);
		file = anon_inode_getfile("[ubd-device]", &ubd_control_fops, control, O_RDWR);
	}
	if (IS_ERR(file)) {
		kfree(control);
		ubd_device_put_control(dev);
		ubd_device_put(dev);
	}
	return file;
}
