// SPDX-License-Identifier: GPL-2.0-only
/*
 * OPEN_BLOCK: the block device for processes that cannot reach its node.
 *
 * It goes through a node nevertheless: an inode that holds the number of the disk, as in devtmpfs,
 * but on an internal file system, one per device. So the file is that of a block device in every
 * respect, and its owner can open it again through /proc/PID/fd.
 *
 * The inode holds a reference to its disk, and the disk keeps its number: while the inode exists,
 * no other disk gets that number.
 */
#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "compat.h"
#include "ubd.h"

#define UBD_FS_MAGIC 0x75626466 /* "ubdf" */

/* ---- the file system ---- */

static void ubd_evict_inode(struct inode *inode)
{
	struct gendisk *disk = inode->i_private;

	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	if (disk)
		put_disk(disk);
}

static const struct super_operations ubd_super_ops = {
	.evict_inode = ubd_evict_inode,
	.statfs = simple_statfs,
};

static int ubd_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, UBD_FS_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->ops = &ubd_super_ops;
	return 0;
}

static struct file_system_type ubd_fs_type = {
	.owner = THIS_MODULE,
	.name = "ubd",
	.init_fs_context = ubd_init_fs_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *ubd_get_mount(struct ubd_device *dev)
{
	struct vfsmount *mnt = READ_ONCE(dev->mnt);

	if (mnt)
		return mnt;
	mnt = vfs_kern_mount(&ubd_fs_type, SB_KERNMOUNT, ubd_fs_type.name, NULL);
	if (IS_ERR(mnt))
		return mnt;
	/* Some kernels do not expect device nodes on such a file system. */
	mnt->mnt_sb->s_iflags &= ~SB_I_NODEV;
	if (!cmpxchg(&dev->mnt, NULL, mnt))
		return mnt;
	/* Another task was faster. */
	mntput(mnt);
	return READ_ONCE(dev->mnt);
}

/* ---- opening ---- */

/*
 * For a file that only holds a path. With an owner here, alloc_file_pseudo() would drop a module
 * reference that it has not taken; the path holds the module too.
 */
static const struct file_operations ubd_path_fops = {};

/* Takes over one reference of @disk, even on failure. */
static struct inode *ubd_block_inode(const struct ubd_device *dev, struct super_block *sb,
				     struct gendisk *disk)
{
	struct inode *inode = new_inode(sb);

	if (!inode) {
		put_disk(disk);
		return NULL;
	}
	inode->i_ino = get_next_ino();
	inode->i_uid = dev->owner_uid;
	inode->i_gid = dev->owner_gid;
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	init_special_inode(inode, S_IFBLK | 0600, disk_devt(disk));
	inode->i_private = disk;
	return inode;
}

/* Refuses a disk that is being removed: an opener would wait until its partitions are gone. */
static struct gendisk *ubd_get_disk(struct ubd_device *dev)
{
	struct gendisk *disk = ERR_PTR(-EINVAL);

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev)) {
		disk = ERR_PTR(-ENODEV);
	} else if (dev->disk) {
		disk = dev->disk;
		get_device(disk_to_dev(disk));
	}
	spin_unlock(&dev->lock);
	return disk;
}

/*
 * The caller holds the control fd, and so has as much power over the device as the owner: the disk
 * admits it as the owner. The resulting file has the caller's own credentials.
 */
static struct file *ubd_open_as_owner(const struct ubd_device *dev, const struct path *path,
				      int flags)
{
	const struct cred *caller = current_cred(), *before;
	struct cred *owner = prepare_creds();
	struct file *file;

	if (!owner)
		return ERR_PTR(-ENOMEM);
	owner->euid = dev->owner_uid;
	before = override_creds(owner);
	file = dentry_open(path, flags, caller);
	revert_creds(before);
	put_cred(owner);
	return file;
}

struct file *ubd_block_file(struct ubd_device *dev)
{
	struct vfsmount *mnt = ubd_get_mount(dev);
	struct file *path_file, *file;
	struct gendisk *disk;
	struct inode *inode;
	int flags;

	if (IS_ERR(mnt))
		return ERR_CAST(mnt);
	disk = ubd_get_disk(dev);
	if (IS_ERR(disk))
		return ERR_CAST(disk);
	flags = O_LARGEFILE | (get_disk_ro(disk) ? O_RDONLY : O_RDWR);
	inode = ubd_block_inode(dev, mnt->mnt_sb, disk);
	if (!inode)
		return ERR_PTR(-ENOMEM);

	path_file = alloc_file_pseudo(inode, mnt, disk->disk_name, O_RDWR, &ubd_path_fops);
	if (IS_ERR(path_file)) {
		iput(inode);
		return path_file;
	}
	file = ubd_open_as_owner(dev, &path_file->f_path, flags);
	fput(path_file);
	return file;
}
