// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/ubdcN: one process opens it, maps the descriptors and issues the I/O commands, which are in
 * io.c.
 *
 * That process is the server, and its death must be noticed at once. The file's ->release cannot
 * tell: every pending FETCH holds the file. Newer kernels cancel a FETCH when its ring goes away
 * (ubd_cancel_fetch()); Linux 6.1 does not, and no kernel does when a single thread ends. So the
 * following signs are used, each of which leads to ubd_server_gone():
 *
 *   1. ->flush: the opener's file table closes its last descriptor of the file, by close() or
 *      because the process exits. A child's copy is in another table.
 *   2. The opener's thread group is gone, as reported by the wait queue that wakes pollers of a
 *      pidfd. This covers a child that shares the file table.
 *   3. A request finds that the thread or the ring of its FETCH is gone (ubd_deliver()) although
 *      the process lives.
 *
 * These come at once, and suffice for a server that dies in the usual way. In two cases the process
 * cannot finish dying, or does not die:
 *
 *   4. One of its threads waits, unkillably, for a request to the server's own device. blk-mq's
 *      timer runs while requests are in flight, so it makes us check whether the process is being
 *      killed, and whether a FETCH has lost its thread or ring (in deep queues, only some of the
 *      FETCHes each time).
 *   5. A ring is closed, or a thread ends, with FETCHes pending and no request in sight. Nobody
 *      waits then, but for five minutes io_uring would warn about a ring that it cannot free. So
 * the watch work checks twice a minute.
 *
 * A server that takes longer to answer than it may is treated as dead too; that is checked along
 * with 4.
 */
#include <linux/anon_inodes.h>
#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

#define UBD_WATCH_INTERVAL (30 * HZ)

/* ---- signs of death ---- */

static int ubd_is_this_file(const void *file, struct file *candidate, unsigned int fd)
{
	return candidate == file;
}

static int ubd_char_flush(struct file *file, fl_owner_t files)
{
	struct ubd_device *dev = file->private_data;

	if (files != dev->opener_files)
		return 0;
	/*
	 * close() has removed the descriptor from the table already. When a task exits (the last
	 * one with this table), the kernel version decides whether it has; but then all of them go.
	 */
	if ((current->flags & PF_EXITING) || !iterate_fd(files, 0, ubd_is_this_file, file))
		ubd_server_gone(dev);
	return 0;
}

static bool ubd_is_group_exiting(const struct task_struct *task)
{
	/*
	 * Modules cannot take the lock of these flags. A change that is missed is seen a second
	 * later.
	 */
	return data_race(READ_ONCE(task->signal->flags)) & SIGNAL_GROUP_EXIT;
}

/* True once the thread group is gone or is being killed as a whole. */
static bool ubd_is_ended(struct pid *opener)
{
	struct task_struct *task;
	bool ended;

	rcu_read_lock();
	task = pid_task(opener, PIDTYPE_TGID);
	ended = !task || !atomic_read(&task->signal->live) || ubd_is_group_exiting(task);
	rcu_read_unlock();
	return ended;
}

/*
 * Returns the server, if there is one. Until ubd_end_check() no other server can come, so what the
 * check finds concerns this one.
 */
static struct pid *ubd_begin_check(struct ubd_device *dev)
{
	struct pid *opener;

	spin_lock(&dev->lock);
	opener = get_pid(dev->opener);
	if (opener)
		dev->nr_checks++;
	spin_unlock(&dev->lock);
	return opener;
}

static void ubd_end_check(struct ubd_device *dev, struct pid *opener)
{
	spin_lock(&dev->lock);
	dev->nr_checks--;
	spin_unlock(&dev->lock);
	wake_up_all(&dev->wait);
	put_pid(opener);
}

static void ubd_check_server(struct ubd_device *dev, bool everywhere)
{
	struct pid *opener = ubd_begin_check(dev);

	if (!opener)
		return;
	if (ubd_is_ended(opener) || ubd_has_orphans(dev, everywhere)) {
		ubd_server_gone(dev);
	} else if (READ_ONCE(dev->rate.too_slow)) {
		dev_warn(&dev->device, "the server writes too slowly\n");
		ubd_server_gone(dev);
	} else if (ubd_has_overdue(dev)) {
		dev_warn(&dev->device, "the server does not answer\n");
		ubd_server_gone(dev);
	}
	ubd_end_check(dev, opener);
}

static void ubd_check_work(struct work_struct *work)
{
	struct ubd_device *dev = container_of(work, struct ubd_device, check_work);

	ubd_check_server(dev, false);
	ubd_device_put(dev);
}

/*
 * Called with the wait queue's lock held, so the work acts in its place. Not every call means a
 * death: a debugger is notified of the main thread's end in the same way.
 */
static int ubd_opener_exits(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	struct ubd_device *dev = container_of(entry, struct ubd_device, on_exit);

	ubd_queue_work(dev, ubd_check_wq, &dev->check_work);
	return 0;
}

/* Holds no reference: ubd_delete() cancels it. */
static void ubd_watch_work(struct work_struct *work)
{
	struct ubd_device *dev = container_of(to_delayed_work(work), struct ubd_device, watch_work);

	ubd_check_server(dev, true);
	if (!test_bit(UBD_ABORTED, &dev->flags) && !test_bit(UBD_AWAY, &dev->flags))
		queue_delayed_work(ubd_check_wq, &dev->watch_work, UBD_WATCH_INTERVAL);
}

/* ---- file operations ---- */

/* Under dev->lock, before DELETE is asked for, so that ubd_delete() cancels the work. */
static void ubd_set_opener(struct ubd_device *dev, bool trusted)
{
	WRITE_ONCE(dev->untrusted, !trusted);
	if (dev->disk)
		assign_bit(GD_SUPPRESS_PART_SCAN, &dev->disk->state, !trusted);
	memset(dev->swept, 0, sizeof(dev->swept));
	dev->opened = true;
	dev->detached = false;
	clear_bit(UBD_AWAY, &dev->flags);
	clear_bit(UBD_DRAINING, &dev->flags);
	dev->opener = get_pid(task_tgid(current));
	dev->opener_files = current->files;
	trace_ubd_server_open(dev);
	queue_delayed_work(ubd_check_wq, &dev->watch_work, UBD_WATCH_INTERVAL);
}

static int ubd_attach_server(struct ubd_device *dev, struct file *file)
{
	bool trusted = capable(CAP_SYS_ADMIN);
	int err = 0;

	/*
	 * R6: one opener, once, and once more after each START_RECOVERY. None while ADD_DEV can
	 * still fail, because a failing ADD_DEV does not go through ubd_delete().
	 */
	spin_lock(&dev->lock);
	if (!dev->added || ubd_is_ending(dev))
		err = -ENODEV;
	else if (dev->opened)
		err = -EBUSY;
	else
		ubd_set_opener(dev, trusted);
	spin_unlock(&dev->lock);
	if (err)
		return err;

	file->private_data = ubd_device_get(dev);
	init_waitqueue_func_entry(&dev->on_exit, ubd_opener_exits);
	add_wait_queue(&dev->opener->wait_pidfd, &dev->on_exit);
	/* ubd_read_iter() waits for nothing but the caller's own memory. */
	file->f_mode |= FMODE_PREAD | FMODE_PWRITE | FMODE_NOWAIT;
	return 0;
}

static int ubd_char_open(struct inode *inode, struct file *file)
{
	struct ubd_device *dev = container_of(inode->i_cdev, struct ubd_device, cdev);

	return ubd_attach_server(dev, file);
}

static int ubd_char_release(struct inode *inode, struct file *file)
{
	struct ubd_device *dev = file->private_data;
	struct pid *opener;

	/* A file of ubd_char_file() on a device that already had a server. */
	if (!dev)
		return 0;
	opener = dev->opener;
	ubd_server_gone(dev);
	remove_wait_queue(&opener->wait_pidfd, &dev->on_exit);
	spin_lock(&dev->lock);
	dev->opener = NULL;
	/* By now the process has ended its other I/O, or no longer counts. */
	dev->left_ns = ktime_get_real_ns();
	spin_unlock(&dev->lock);
	wake_up_all(&dev->wait);
	put_pid(opener);
	ubd_device_put(dev);
	return 0;
}

/* R10: read-only forever, and only for the opener. */
static int ubd_char_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ubd_device *dev = file->private_data;
	u64 off = (u64)vma->vm_pgoff << PAGE_SHIFT;
	u64 q_id = off / UBD_DESC_MMAP_STRIDE;

	if (task_tgid(current) != dev->opener)
		return -EPERM;
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	if (!(vma->vm_flags & VM_MAYSHARE) || q_id >= dev->tag_set.nr_hw_queues ||
	    off != ubd_desc_mmap_offset(q_id) || vma->vm_end - vma->vm_start != ubd_descs_size(dev))
		return -EINVAL;

	q_id = array_index_nospec(q_id, dev->tag_set.nr_hw_queues);
	ubd_vma_seal(vma);
	return remap_vmalloc_range(vma, dev->queues[q_id].descs, 0);
}

static const struct file_operations ubd_char_fops = {
	.owner = THIS_MODULE,
	.open = ubd_char_open,
	.flush = ubd_char_flush,
	.release = ubd_char_release,
	.mmap = ubd_char_mmap,
	.read_iter = ubd_read_iter,
	.write_iter = ubd_write_iter,
	.uring_cmd = ubd_io_uring_cmd,
};

struct file *ubd_char_file(struct ubd_device *dev)
{
	struct file *file = anon_inode_getfile("[ubd-char]", &ubd_char_fops, NULL, O_RDWR);
	int err;

	if (IS_ERR(file))
		return file;
	err = ubd_attach_server(dev, file);
	if (!err)
		return file;
	fput(file);
	return ERR_PTR(err);
}

void ubd_char_init(struct ubd_device *dev)
{
	cdev_init(&dev->cdev, &ubd_char_fops);
	dev->cdev.owner = THIS_MODULE;
	INIT_WORK(&dev->check_work, ubd_check_work);
	INIT_DEFERRABLE_WORK(&dev->watch_work, ubd_watch_work);
}
