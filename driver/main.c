// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module, and /dev/ubd-control, which hands out control fds. None of its commands changes an
 * existing device (R2).
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "compat.h"
#include "ubd.h"

static int ubd_get_features(const struct ubd_ctrl_args *args)
{
	u64 features = ubd_features();

	return ubd_ctrl_copy_out(args, &features, sizeof(features));
}

/*
 * Returns a close-on-exec descriptor of a new control file, which takes over one nr_control and one
 * reference; on failure both are dropped. Copies @info out first, if given.
 */
static int ubd_install_control(struct ubd_device *dev, const struct ubd_ctrl_args *args,
			       const struct ubdsrv_ctrl_dev_info *info)
{
	struct file *file = ubd_control_file(dev);
	int fd, err = 0;

	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto put_file;
	}
	if (info)
		err = ubd_ctrl_copy_out(args, info, sizeof(*info));
	if (err)
		goto put_fd;
	fd_install(fd, file);
	return fd;

put_fd:
	put_unused_fd(fd);
put_file:
	fput(file);
	return err;
}

static int ubd_add_dev(const struct ubd_ctrl_args *args)
{
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_device *dev;
	int err;

	err = ubd_ctrl_copy_in(args, &info, sizeof(info));
	if (err)
		return err;
	if (info.reserved0 || memchr_inv(info.reserved2, 0, sizeof(info.reserved2)))
		return -EINVAL;

	/*
	 * R1: the server of a mounted disk has a lot of power over the kernel. R4: what others may
	 * do.
	 */
	dev = ubd_device_add(&info, capable(CAP_SYS_ADMIN));
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	ubd_device_info(dev, &info);
	return ubd_install_control(dev, args, &info);
}

/*
 * Being uid 0 proves nothing by itself: so is root in every container without its own user
 * namespace.
 */
static bool ubd_may_open(const struct ubd_device *dev)
{
	if (uid_eq(current_euid(), dev->owner_uid) && !uid_eq(dev->owner_uid, GLOBAL_ROOT_UID))
		return true;
	return capable(CAP_SYS_ADMIN);
}

/* R2b: the checked way back to a device. */
static int ubd_open_dev(const struct ubd_ctrl_args *args)
{
	struct ubd_open_dev arg;
	struct ubd_device *dev;
	int err;

	err = ubd_ctrl_copy_in(args, &arg, sizeof(arg));
	if (err)
		return err;
	if (memchr_inv(arg.reserved, 0, sizeof(arg.reserved)))
		return -EINVAL;

	dev = ubd_device_find(arg.dev_id);
	if (!dev)
		return -ENODEV;
	if (!ubd_may_open(dev)) {
		ubd_device_put_control(dev);
		ubd_device_put(dev);
		return -EACCES;
	}
	return ubd_install_control(dev, args, NULL);
}

static int ubd_misc_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_ctrl_args args;
	int err;

	err = ubd_ctrl_begin(cmd, issue_flags, &args);
	if (err)
		return err;

	switch (cmd->cmd_op) {
	case UBD_CMD_GET_FEATURES:
		return ubd_get_features(&args);
	case UBD_CMD_ADD_DEV:
		return ubd_cmd_return(cmd, ubd_add_dev(&args), issue_flags);
	case UBD_CMD_OPEN_DEV:
		return ubd_cmd_return(cmd, ubd_open_dev(&args), issue_flags);
	default:
		return -EINVAL;
	}
}

static const struct file_operations ubd_misc_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.uring_cmd = ubd_misc_uring_cmd,
};

static struct miscdevice ubd_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ubd-control",
	.mode = 0600,
	.fops = &ubd_misc_fops,
};

static int __init ubd_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct ubdsrv_ctrl_cmd) != 16);
	BUILD_BUG_ON(sizeof(struct ubdsrv_io_cmd) != 16);
	BUILD_BUG_ON(sizeof(struct ubdsrv_io_desc) != 24);
	BUILD_BUG_ON(sizeof(struct ubd_batch_entry) != 16);
	BUILD_BUG_ON(sizeof(struct ubdsrv_ctrl_dev_info) != 72);
	BUILD_BUG_ON(sizeof(struct ubd_params) != 80);
	BUILD_BUG_ON(sizeof(struct ubd_open_dev) != 16);
	BUILD_BUG_ON(sizeof(struct ubd_identity) != 128);

	err = ubd_work_init();
	if (err)
		return err;
	err = ubd_devices_init();
	if (err)
		goto exit_work;
	err = ubd_suspend_init();
	if (err)
		goto exit_devices;
	err = misc_register(&ubd_misc);
	if (err)
		goto exit_suspend;
	return 0;

exit_suspend:
	ubd_suspend_exit();
exit_devices:
	ubd_devices_exit();
exit_work:
	ubd_work_exit();
	return err;
}

/*
 * Nothing holds the module any more, see ubd.h. What may still be running is the end of the work
 * that deleted the last device, and checks that were queued by the timers of its requests.
 *
 * Also, io_uring may have called us to release the pages of a request or to end a command. That
 * call may be what let the device go, and if it was preempted it has not returned yet. But it does
 * not sleep after that point, so once every task has slept or left the kernel, none is left in
 * here.
 */
static void __exit ubd_exit(void)
{
	misc_deregister(&ubd_misc);
	ubd_suspend_exit();
	ubd_work_exit();
	ubd_devices_exit();
	synchronize_rcu_tasks();
}

module_init(ubd_init);
module_exit(ubd_exit);
MODULE_DESCRIPTION("Block devices served by a process through io_uring");
MODULE_LICENSE("GPL");
MODULE_VERSION(UBD_VERSION);
