// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a device: ADD_DEV makes it, the life work starts, stops and deletes its disk, and the
 * last reference frees it. See ubd.h for who holds references and why there is a life work.
 */
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/mount.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

/*
 * By id. A device with nr_control 0 is being made, is going away, or outlives its server. A deleted
 * device stays here while its disk is still open.
 */
static DEFINE_XARRAY_ALLOC(ubd_devices);

static struct class *ubd_class;
static dev_t ubd_chrdev_base;
static int ubd_block_major; /* our own, so that a device cgroup can tell our disks from others */

/* ---- the life work ---- */

/*
 * The id becomes free when neither the device nor its disk uses it: a dead disk that is still
 * mounted keeps names in sysfs and procfs that contain the id.
 */
static void ubd_put_id(struct ubd_device *dev)
{
	if (atomic_dec_and_test(&dev->nr_id_users))
		xa_erase(&ubd_devices, dev->id);
}

/* The last opener has closed the disk. ubd_exit() waits for the rest of this function. */
static void ubd_free_disk(struct gendisk *disk)
{
	struct ubd_device *dev = disk->private_data;

	ubd_put_id(dev);
	ubd_device_put(dev);
	module_put(THIS_MODULE);
}

/* Under open_mutex. Opening a disk that is being removed would wait, only to find the disk gone. */
static int ubd_open_disk(struct gendisk *disk)
{
	struct ubd_device *dev = disk->private_data;
	bool ending;

	if (!ubd_may_open_disk(dev))
		return -EPERM;
	spin_lock(&dev->lock);
	ending = ubd_is_ending(dev);
	spin_unlock(&dev->lock);
	return ending ? -ENXIO : 0;
}

UBD_DISK_OPEN(ubd_disk_open, ubd_open_disk)

static const struct block_device_operations ubd_disk_ops = {
	.owner = THIS_MODULE,
	.open = ubd_disk_open,
	.free_disk = ubd_free_disk,
};

/* params and identity are constant here, because dev->starting is set. */
static int ubd_add_disk(struct ubd_device *dev)
{
	struct gendisk *disk;
	int err;

	disk = ubd_params_disk(dev);
	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->fops = &ubd_disk_ops;
	disk->private_data = dev;
	disk->major = ubd_block_major;
	disk->first_minor = dev->id;
	disk->minors = 1;
	snprintf(disk->disk_name, sizeof(disk->disk_name), "ubdb%u", dev->id);
	ubd_restrict_disk(dev, disk);
	if (dev->features & UBD_F_NO_AUTO_PART_SCAN)
		set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);

	err = device_add_disk(&dev->device, disk, ubd_disk_groups);
	if (err) {
		put_disk(disk);
		return err;
	}
	clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	/* From here on the disk ends in ubd_free_disk(). */
	atomic_inc(&dev->nr_id_users);
	ubd_device_get(dev);
	__module_get(THIS_MODULE);
	spin_lock(&dev->lock);
	dev->disk = disk;
	ubd_set_state(dev, UBD_S_DEV_LIVE);
	spin_unlock(&dev->lock);
	return 0;
}

static void ubd_start(struct ubd_device *dev)
{
	int err = -ENODEV;

	if (!test_bit(UBD_ABORTED, &dev->flags))
		err = ubd_add_disk(dev);
	/* The server may have died during the partition scan. */
	if (!err && test_bit(UBD_ABORTED, &dev->flags))
		err = -ENODEV;

	spin_lock(&dev->lock);
	dev->starting = false;
	dev->start_error = err;
	spin_unlock(&dev->lock);
}

static bool ubd_is_served(struct ubd_device *dev)
{
	bool served;

	spin_lock(&dev->lock);
	served = dev->state == UBD_S_DEV_LIVE && !test_bit(UBD_AWAY, &dev->flags);
	spin_unlock(&dev->lock);
	return served;
}

/*
 * Removes the disk while the server is still working: del_gendisk() writes back what is in the page
 * cache. If the server dies in the middle, ubd_device_abort() ends what we wait for: STOP has been
 * asked for, so the device no longer outlives its server.
 */
static void ubd_stop(struct ubd_device *dev)
{
	struct gendisk *disk = dev->disk;

	if (!ubd_is_served(dev))
		ubd_device_abort(dev);
	if (disk)
		del_gendisk(disk);
	ubd_device_abort(dev);

	spin_lock(&dev->lock);
	dev->disk = NULL;
	ubd_set_state(dev, UBD_S_DEV_STOPPED);
	spin_unlock(&dev->lock);
	if (disk)
		put_disk(disk);
}

/* Tells udev and other listeners that the device has lost its server, or has one again. */
static void ubd_tell(struct ubd_device *dev)
{
	char *quiesced[] = { "UBD_STATE=quiesced", NULL };
	char *live[] = { "UBD_STATE=live", NULL };
	u16 state;

	spin_lock(&dev->lock);
	state = dev->state;
	spin_unlock(&dev->lock);
	if (state == UBD_S_DEV_LIVE)
		kobject_uevent_env(&dev->device.kobj, KOBJ_CHANGE, live);
	else if (state == UBD_S_DEV_QUIESCED || state == UBD_S_DEV_RECOVERING)
		kobject_uevent_env(&dev->device.kobj, KOBJ_CHANGE, quiesced);
}

static void ubd_delete(struct ubd_device *dev)
{
	if (test_bit(UBD_DELETED, &dev->flags))
		return;
	cancel_delayed_work_sync(&dev->watch_work);
	cancel_delayed_work_sync(&dev->deadline_work);
	cdev_device_del(&dev->cdev, &dev->device);
	ubd_put_id(dev);
	set_bit(UBD_DELETED, &dev->flags);
	/* ubd_exit() waits for this work to return. */
	module_put(THIS_MODULE);
	ubd_device_put(dev);
}

static void ubd_life_work(struct work_struct *work)
{
	struct ubd_device *dev = container_of(work, struct ubd_device, life_work);
	unsigned int asked;

	spin_lock(&dev->lock);
	asked = dev->asked;
	dev->asked &= ~(UBD_ASK_START | UBD_ASK_RESIZE | UBD_ASK_TELL);
	spin_unlock(&dev->lock);

	if (asked & UBD_ASK_START)
		ubd_start(dev);
	if (asked & UBD_ASK_RESIZE)
		ubd_resize(dev);
	if (asked & UBD_ASK_TELL)
		ubd_tell(dev);
	if (asked & (UBD_ASK_STOP | UBD_ASK_DELETE))
		ubd_stop(dev);
	if (asked & UBD_ASK_DELETE)
		ubd_delete(dev);
	wake_up_all(&dev->wait);
	ubd_device_put(dev);
}

/* ---- commands ---- */

static int ubd_claim_start(struct ubd_device *dev)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev))
		err = -ENODEV;
	else if (dev->state != UBD_S_DEV_ADDED || dev->starting)
		err = -EBUSY;
	else if (!dev->has_params)
		err = -EINVAL;
	else
		dev->starting = true;
	spin_unlock(&dev->lock);
	return err;
}

static void ubd_unclaim_start(struct ubd_device *dev)
{
	spin_lock(&dev->lock);
	dev->starting = false;
	spin_unlock(&dev->lock);
}

/* -EAGAIN while some tag has not had a FETCH. */
static int ubd_try_fetched(struct ubd_device *dev)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev))
		err = -ENODEV;
	else if (atomic_read(&dev->nr_unfetched))
		err = -EAGAIN;
	spin_unlock(&dev->lock);
	return err;
}

/* -EAGAIN while the life work has not finished the start. */
static int ubd_try_started(struct ubd_device *dev)
{
	int err;

	spin_lock(&dev->lock);
	err = dev->starting ? -EAGAIN : dev->start_error;
	spin_unlock(&dev->lock);
	return err;
}

int ubd_device_start(struct ubd_device *dev)
{
	int err;

	err = ubd_claim_start(dev);
	if (err)
		return err;

	err = ubd_wait(dev, ubd_try_fetched);
	if (err) {
		ubd_unclaim_start(dev);
		return err;
	}

	/* This cannot be taken back: if we are killed, the start goes on. */
	ubd_device_ask(dev, UBD_ASK_START);
	return ubd_wait(dev, ubd_try_started);
}

/*
 * During the partition scan the life work may be waiting for a server that does not answer, and
 * would not get to the request made here. Nobody uses the disk yet, so there is nothing to write
 * back.
 */
static void ubd_ask_end(struct ubd_device *dev, unsigned int what)
{
	ubd_device_ask(dev, what);
	if (ubd_try_started(dev) == -EAGAIN)
		ubd_device_abort(dev);
}

static int ubd_try_stopped(struct ubd_device *dev)
{
	bool stopped;

	spin_lock(&dev->lock);
	stopped = dev->state == UBD_S_DEV_STOPPED;
	spin_unlock(&dev->lock);
	return stopped ? 0 : -EAGAIN;
}

int ubd_device_stop(struct ubd_device *dev)
{
	ubd_ask_end(dev, UBD_ASK_STOP);
	return ubd_wait(dev, ubd_try_stopped);
}

/*
 * Asks for STOP unless the disk is in use. After that nobody can open it: the next opener to hold
 * open_mutex finds that the disk is ending, see ubd_open_disk().
 */
static int ubd_ask_stop_if_unused(struct ubd_device *dev, struct gendisk *disk)
{
	int err = 0;

	if (mutex_lock_killable(&disk->open_mutex))
		return -EINTR;
	if (disk_openers(disk))
		err = -EBUSY;
	else
		ubd_device_ask(dev, UBD_ASK_STOP);
	mutex_unlock(&disk->open_mutex);
	return err;
}

int ubd_device_try_stop(struct ubd_device *dev)
{
	struct gendisk *disk = NULL;
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev)) {
		/* Already asked for, by somebody who did not mind users of the disk. */
	} else if (dev->starting) {
		err = -EBUSY;
	} else if (dev->disk) {
		disk = dev->disk;
		get_device(disk_to_dev(disk));
	} else {
		ubd_ask(dev, UBD_ASK_STOP);
	}
	spin_unlock(&dev->lock);

	if (disk) {
		err = ubd_ask_stop_if_unused(dev, disk);
		put_disk(disk);
	}
	return err ? err : ubd_wait(dev, ubd_try_stopped);
}

static int ubd_try_deleted(struct ubd_device *dev)
{
	return test_bit(UBD_DELETED, &dev->flags) ? 0 : -EAGAIN;
}

int ubd_device_delete(struct ubd_device *dev)
{
	ubd_ask_end(dev, UBD_ASK_DELETE);
	return ubd_wait(dev, ubd_try_deleted);
}

void ubd_device_put_control(struct ubd_device *dev)
{
	bool ends;

	spin_lock(&dev->lock);
	ends = --dev->nr_control == 0 && !ubd_outlives_server(dev);
	spin_unlock(&dev->lock);
	if (!ends)
		return;
	ubd_device_abort(dev);
	ubd_device_ask(dev, UBD_ASK_DELETE);
}

/* ---- birth and end ---- */

static void ubd_device_release(struct device *device)
{
	struct ubd_device *dev = container_of(device, struct ubd_device, device);

	ubd_queues_free(dev);
	if (dev->tag_set.tags)
		blk_mq_free_tag_set(&dev->tag_set);
	if (dev->mnt)
		mntput(dev->mnt);
	ubd_uncharge(dev);
	kfree(dev);
}

static bool ubd_are_flags_valid(u64 flags)
{
	u64 how = flags & (UBD_F_USER_RECOVERY_REISSUE | UBD_F_USER_RECOVERY_FAIL_IO);

	return !(flags & ~UBD_FLAGS_KNOWN) && hweight64(how) <= 1 &&
	       (!how || (flags & UBD_F_USER_RECOVERY)) &&
	       (!(flags & UBD_F_ZERO_COPY) || (flags & UBD_F_USER_COPY));
}

static bool ubd_is_recovery_timeout_valid(const struct ubdsrv_ctrl_dev_info *info)
{
	if (!info->recovery_timeout)
		return true;
	return (info->flags & UBD_F_USER_RECOVERY) &&
	       info->recovery_timeout <= UBD_MAX_RECOVERY_TIMEOUT;
}

static bool ubd_is_info_valid(const struct ubdsrv_ctrl_dev_info *info)
{
	return info->nr_hw_queues && info->nr_hw_queues <= UBD_MAX_NR_HW_QUEUES &&
	       info->queue_depth && info->queue_depth <= UBD_MAX_QUEUE_DEPTH &&
	       info->max_io_bytes && info->max_io_bytes <= UBD_MAX_IO_BYTES &&
	       PAGE_ALIGNED(info->max_io_bytes) && ubd_are_flags_valid(info->flags) &&
	       ubd_is_recovery_timeout_valid(info) &&
	       (info->dev_id < UBD_MAX_DEVICES || info->dev_id == UBD_DEV_ID_ANY);
}

static struct ubd_device *ubd_device_alloc(const struct ubdsrv_ctrl_dev_info *info)
{
	struct ubd_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);

	if (!dev)
		return NULL;
	dev->max_io_bytes = info->max_io_bytes;
	dev->features = info->flags;
	dev->recovery_timeout = info->recovery_timeout;
	dev->owner_uid = current_euid();
	dev->owner_gid = current_egid();
	spin_lock_init(&dev->lock);
	spin_lock_init(&dev->rate.lock);
	init_waitqueue_head(&dev->wait);
	INIT_WORK(&dev->life_work, ubd_life_work);
	ubd_char_init(dev);
	ubd_recovery_init(dev);
	device_initialize(&dev->device);
	dev->device.class = ubd_class;
	dev->device.type = &ubd_device_type;
	dev->device.release = ubd_device_release;
	return dev;
}

/* blk-mq may grant fewer tags than requested; the queues follow what it granted. */
static int ubd_alloc_tags(struct ubd_device *dev, const struct ubdsrv_ctrl_dev_info *info)
{
	int err;

	dev->tag_set.ops = &ubd_mq_ops;
	dev->tag_set.nr_hw_queues = min_t(u32, info->nr_hw_queues, num_online_cpus());
	dev->tag_set.queue_depth = info->queue_depth;
	dev->tag_set.numa_node = NUMA_NO_NODE;
	/* blk-mq adds a second; this is how often it calls ubd_timeout(). */
	dev->tag_set.timeout = HZ / 10;
	/*
	 * No I/O scheduler here: the server's own I/O is scheduled where the image is stored. A CPU
	 * that goes offline does not wait for requests (STACKING): a server that is frozen for a
	 * suspend answers none, and a queue without CPUs works like any other.
	 */
	dev->tag_set.flags = BLK_MQ_F_SHOULD_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	dev->tag_set.flags |= BLK_MQ_F_STACKING;
	dev->tag_set.driver_data = dev;
	err = blk_mq_alloc_tag_set(&dev->tag_set);
	if (err)
		return err;
	return ubd_queues_alloc(dev);
}

static int ubd_take_id(struct ubd_device *dev, u32 wanted)
{
	int err;

	atomic_set(&dev->nr_id_users, 1);
	if (wanted == UBD_DEV_ID_ANY) {
		err = xa_alloc(&ubd_devices, &dev->id, dev,
			       XA_LIMIT(ubd_min_id(dev), UBD_MAX_DEVICES - 1), GFP_KERNEL);
		return err == -EBUSY ? -ENOSPC : err;
	}
	dev->id = wanted;
	err = xa_insert(&ubd_devices, wanted, dev, GFP_KERNEL);
	return err == -EBUSY ? -EEXIST : err;
}

static int ubd_add_node(struct ubd_device *dev)
{
	int err;

	dev->device.devt = MKDEV(MAJOR(ubd_chrdev_base), MINOR(ubd_chrdev_base) + dev->id);
	err = dev_set_name(&dev->device, "ubdc%u", dev->id);
	if (err)
		return err;
	return cdev_device_add(&dev->cdev, &dev->device);
}

struct ubd_device *ubd_device_add(struct ubdsrv_ctrl_dev_info *info, bool privileged)
{
	struct ubd_device *dev;
	int err;

	err = ubd_is_info_valid(info) ? 0 : -EINVAL;
	if (!err && !privileged)
		err = ubd_restrict_info(info);
	if (err)
		return ERR_PTR(err);
	dev = ubd_device_alloc(info);
	if (!dev)
		return ERR_PTR(-ENOMEM);

	if (!privileged)
		err = ubd_charge(dev);
	if (err)
		goto put_device;
	err = ubd_pace(dev);
	if (err)
		goto put_device;
	err = ubd_alloc_tags(dev, info);
	if (err)
		goto put_device;
	err = ubd_take_id(dev, info->dev_id);
	if (err)
		goto put_device;
	err = ubd_add_node(dev);
	if (err)
		goto erase_id;

	__module_get(THIS_MODULE);
	ubd_device_get(dev);
	spin_lock(&dev->lock);
	dev->nr_control = 1;
	dev->added = true;
	spin_unlock(&dev->lock);
	return dev;

erase_id:
	xa_erase(&ubd_devices, dev->id);
put_device:
	ubd_device_put(dev);
	return ERR_PTR(err);
}

/* Nobody can come back to a device that is being made, is being deleted, or was deleted. */
static bool ubd_take_control(struct ubd_device *dev)
{
	bool found;

	spin_lock(&dev->lock);
	found = (dev->nr_control || ubd_outlives_server(dev)) &&
		!test_bit(UBD_DELETED, &dev->flags);
	if (found) {
		dev->nr_control++;
		ubd_device_get(dev);
	}
	spin_unlock(&dev->lock);
	return found;
}

struct ubd_device *ubd_device_find(u32 id)
{
	struct ubd_device *dev;

	xa_lock(&ubd_devices);
	dev = xa_load(&ubd_devices, id);
	if (dev && !ubd_take_control(dev))
		dev = NULL;
	xa_unlock(&ubd_devices);
	return dev;
}

/* ---- what all devices share ---- */

int ubd_devices_init(void)
{
	int err;

	ubd_class = ubd_class_create("ubd");
	if (IS_ERR(ubd_class))
		return PTR_ERR(ubd_class);
	err = alloc_chrdev_region(&ubd_chrdev_base, 0, UBD_MAX_DEVICES, "ubdc");
	if (err)
		goto destroy_class;
	ubd_block_major = register_blkdev(0, "ubd");
	if (ubd_block_major < 0) {
		err = ubd_block_major;
		goto unregister_chrdev;
	}
	return 0;

unregister_chrdev:
	unregister_chrdev_region(ubd_chrdev_base, UBD_MAX_DEVICES);
destroy_class:
	class_destroy(ubd_class);
	return err;
}

void ubd_devices_exit(void)
{
	unregister_blkdev(ubd_block_major, "ubd");
	unregister_chrdev_region(ubd_chrdev_base, UBD_MAX_DEVICES);
	class_destroy(ubd_class);
}
