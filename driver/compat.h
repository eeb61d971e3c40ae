/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between kernel versions: the only file that looks at LINUX_VERSION_CODE, and the only
 * one that looks into io_uring's structs. Built for and tested on 6.1, 6.12 and 7.2.
 */
#ifndef UBD_COMPAT_H
#define UBD_COMPAT_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/device/class.h>
#include <linux/io_uring.h>
#include <linux/io_uring_types.h>
#include <linux/mm.h>
#include <linux/percpu-refcount.h>
#include <linux/sched.h>
#include <linux/version.h>

#define UBD_KERNEL_IS(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

#if !UBD_KERNEL_IS(6, 1) || (UBD_KERNEL_IS(6, 2) && !UBD_KERNEL_IS(6, 12))
#error "this version of ubd builds for Linux 6.1, and for 6.12 and later"
#endif

#if UBD_KERNEL_IS(6, 12)
#include <linux/io_uring/cmd.h>
#endif

/* ---- devices and memory ---- */

static inline struct class *ubd_class_create(const char *name)
{
#if UBD_KERNEL_IS(6, 12)
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

/* The device that device_type.devnode() gets. */
#if UBD_KERNEL_IS(6, 12)
typedef const struct device ubd_devnode_device;
#else
typedef struct device ubd_devnode_device;
#endif

/* The block device of an open file. */
static inline struct block_device *ubd_file_bdev(struct file *file)
{
	return I_BDEV(file->f_mapping->host);
}

/*
 * mprotect() cannot make the mapping writable, and no child inherits it: VM_IO refuses MADV_DOFORK.
 */
static inline void ubd_vma_seal(struct vm_area_struct *vma)
{
#if UBD_KERNEL_IS(6, 12)
	vm_flags_mod(vma, VM_DONTCOPY | VM_IO, VM_MAYWRITE);
#else
	vma->vm_flags &= ~VM_MAYWRITE;
	vma->vm_flags |= VM_DONTCOPY | VM_IO;
#endif
}

/* ---- disks ---- */

/* Since 6.14 this is always the case. */
#if UBD_KERNEL_IS(6, 14)
#define BLK_MQ_F_SHOULD_MERGE 0
#endif

/*
 * Makes a disk with @limits, using only members that 6.1 has too; the features, which it lacks, are
 * separate arguments. ERR_PTR.
 */
static inline struct gendisk *ubd_alloc_disk(struct blk_mq_tag_set *set, void *queuedata,
					     struct queue_limits *limits, bool write_cache,
					     bool fua, bool rotational, bool stable_writes)
{
#if UBD_KERNEL_IS(6, 12)
	limits->features |= (write_cache ? BLK_FEAT_WRITE_CACHE : 0) | (fua ? BLK_FEAT_FUA : 0) |
			    (rotational ? BLK_FEAT_ROTATIONAL : 0) |
			    (stable_writes ? BLK_FEAT_STABLE_WRITES : 0);
	return blk_mq_alloc_disk(set, limits, queuedata);
#else
	struct gendisk *disk = blk_mq_alloc_disk(set, queuedata);
	struct request_queue *q;

	if (IS_ERR(disk))
		return disk;
	q = disk->queue;
	blk_queue_logical_block_size(q, limits->logical_block_size);
	blk_queue_physical_block_size(q, limits->physical_block_size);
	blk_queue_io_min(q, limits->io_min);
	blk_queue_io_opt(q, limits->io_opt);
	blk_queue_max_hw_sectors(q, limits->max_hw_sectors);
	blk_queue_max_segments(q, limits->max_segments);
	blk_queue_max_segment_size(q, limits->max_segment_size);
	blk_queue_segment_boundary(q, limits->seg_boundary_mask);
	blk_queue_dma_alignment(q, limits->dma_alignment);
	q->limits.discard_granularity = limits->discard_granularity;
	blk_queue_max_discard_sectors(q, limits->max_hw_discard_sectors);
	blk_queue_max_write_zeroes_sectors(q, limits->max_write_zeroes_sectors);
	blk_queue_write_cache(q, write_cache, fua);
	if (!rotational)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	if (stable_writes)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	return disk;
#endif
}

/*
 * Whether blk-mq may hand over all requests of a plug through ->queue_rqs(). Not on 6.1, whose
 * timer would not find them unless the driver recorded each of them in a table of blk-mq's.
 */
#define UBD_TAKES_PLUGS UBD_KERNEL_IS(6, 12)

/* What ->queue_rqs() gets; rq_list_pop() takes either. */
#if UBD_KERNEL_IS(6, 12)
typedef struct rq_list ubd_rq_list;
#else
typedef struct request *ubd_rq_list;
#endif

/* Defines @name, an ->open of disks that returns fn(disk). */
#if UBD_KERNEL_IS(6, 12)
#define UBD_DISK_OPEN(name, fn)                                                                    \
	static int name(struct gendisk *disk, blk_mode_t mode)                                     \
	{                                                                                          \
		return fn(disk);                                                                   \
	}
#else
#define UBD_DISK_OPEN(name, fn)                                                                    \
	static int name(struct block_device *bdev, fmode_t mode)                                   \
	{                                                                                          \
		return fn(bdev->bd_disk);                                                          \
	}
#endif

/* ---- io_uring commands ---- */

/* The driver's part of the SQE. It may be in the server's memory: read each field once. */
#if UBD_KERNEL_IS(6, 12)
#define ubd_cmd_sqe(cmd, type) ((const type *)(cmd)->sqe->cmd)
#else
#define ubd_cmd_sqe(cmd, type) ((const type *)(cmd)->cmd)
#endif

/* The flags that the server gave; newer kernels keep their own flags in the same field. */
static inline u32 ubd_cmd_flags(const struct io_uring_cmd *cmd)
{
#ifdef IORING_URING_CMD_MASK
	return cmd->flags & IORING_URING_CMD_MASK;
#else
	return cmd->flags;
#endif
}

static inline void ubd_cmd_done(struct io_uring_cmd *cmd, int res, unsigned int issue_flags)
{
#if UBD_KERNEL_IS(6, 18)
	io_uring_cmd_done(cmd, res, issue_flags);
#else
	io_uring_cmd_done(cmd, res, 0, issue_flags);
#endif
}

/* Defines @name, task work for io_uring_cmd_complete_in_task() that calls fn(cmd, issue_flags). */
#if UBD_KERNEL_IS(6, 19)
#define UBD_CMD_TASK_WORK(name, fn)                                                                \
	static void name(struct io_tw_req req, io_tw_token_t token)                                \
	{                                                                                          \
		fn(io_uring_cmd_from_tw(req), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);                 \
	}
#else
#define UBD_CMD_TASK_WORK(name, fn)                                                                \
	static void name(struct io_uring_cmd *cmd, unsigned int issue_flags)                       \
	{                                                                                          \
		fn(cmd, issue_flags);                                                              \
	}
#endif

/* One task work can end both: they belong to the same ring and were sent by the same thread. */
static inline bool ubd_cmds_go_together(struct io_uring_cmd *a, struct io_uring_cmd *b)
{
	struct io_kiocb *one = cmd_to_io_kiocb(a), *other = cmd_to_io_kiocb(b);

#if UBD_KERNEL_IS(6, 13)
	return one->ctx == other->ctx && one->tctx == other->tctx;
#else
	return one->ctx == other->ctx && one->task == other->task;
#endif
}

/*
 * True if @cmd can no longer do its work: its ring is being torn down, or the thread that issued it
 * has begun to exit or, in 6.1, to execute another program (newer kernels cancel the command then).
 * The caller must keep @cmd from being completed meanwhile.
 */
static inline bool ubd_cmd_is_orphan(struct io_uring_cmd *cmd)
{
	struct io_kiocb *req = cmd_to_io_kiocb(cmd);

	if (percpu_ref_is_dying(&req->ctx->refs))
		return true;
#if UBD_KERNEL_IS(6, 12)
	return READ_ONCE(io_uring_cmd_get_task(cmd)->flags) & PF_EXITING;
#else
	return atomic_read(&req->task->io_uring->in_idle);
#endif
}

/*
 * Newer kernels tell the driver when the ring of a command goes away or its thread executes another
 * program (but not when one of several threads ends): they call ->uring_cmd() once more, with
 * IO_URING_F_CANCEL, under the ring's uring_lock. For that, a command must be marked before anybody
 * may complete it. From then on it may only end through ubd_cmd_done(), see ubd_cmd_return().
 */
static inline void ubd_cmd_mark_cancelable(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
#if UBD_KERNEL_IS(6, 12)
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
#endif
}

static inline bool ubd_cmd_is_canceled(unsigned int issue_flags)
{
#if UBD_KERNEL_IS(6, 12)
	return issue_flags & IO_URING_F_CANCEL;
#else
	return false;
#endif
}

/*
 * Newer kernels let a driver register the pages of a request in the table of fixed buffers of the
 * ring of @cmd. @release is called with @rq, without tag->lock, when the pages have left the table
 * and nobody uses them any more. They leave it through ubd_cmd_unregister(), or through what the
 * owner of the ring does to it, including its end.
 */
#if UBD_KERNEL_IS(6, 15)
#define UBD_F_ZERO_COPY_HERE UBD_F_ZERO_COPY

static inline int ubd_cmd_register(struct io_uring_cmd *cmd, struct request *rq,
				   void (*release)(void *rq), u32 index, unsigned int issue_flags)
{
	return io_buffer_register_bvec(cmd, rq, release, index, issue_flags);
}

static inline void ubd_cmd_unregister(struct io_uring_cmd *cmd, u32 index, unsigned int issue_flags)
{
	io_buffer_unregister_bvec(cmd, index, issue_flags);
}
#else
#define UBD_F_ZERO_COPY_HERE 0

static inline int ubd_cmd_register(struct io_uring_cmd *cmd, struct request *rq,
				   void (*release)(void *rq), u32 index, unsigned int issue_flags)
{
	return -EOPNOTSUPP;
}

static inline void ubd_cmd_unregister(struct io_uring_cmd *cmd, u32 index, unsigned int issue_flags)
{
}
#endif

/* Identifies the ring of @cmd; only for comparison. */
static inline const void *ubd_cmd_ring(struct io_uring_cmd *cmd)
{
	return cmd_to_io_kiocb(cmd)->ctx;
}

/*
 * Newer kernels have commands that stay and post any number of CQEs, each naming a buffer that the
 * server has provided to the ring. Only task work of such a command may call these functions.
 */
#if UBD_KERNEL_IS(6, 18)
#define UBD_F_BATCH_HERE  UBD_F_BATCH
#define UBD_CMD_MULTISHOT IORING_URING_CMD_MULTISHOT

typedef struct io_br_sel ubd_cmd_buffer;

static inline u16 ubd_cmd_buf_group(const struct io_uring_cmd *cmd)
{
	return READ_ONCE(cmd->sqe->buf_group);
}

/*
 * Returns the next provided buffer, or NULL. Reduces @len to its length. The caller must call
 * ubd_cmd_post() or ubd_cmd_put_buffer() before the task work returns.
 */
static inline void __user *ubd_cmd_get_buffer(struct io_uring_cmd *cmd, u16 buf_group, size_t *len,
					      unsigned int issue_flags, ubd_cmd_buffer *ret_buffer)
{
	*ret_buffer = io_uring_cmd_buffer_select(cmd, buf_group, len, issue_flags);
	return ret_buffer->addr;
}

/*
 * Posts a CQE which says that the buffer holds @bytes, more than 0. False if the CQ ring is full:
 * the command must end then, and the buffer is used up nevertheless.
 */
static inline bool ubd_cmd_post(struct io_uring_cmd *cmd, ubd_cmd_buffer *buffer, int bytes,
				unsigned int issue_flags)
{
	buffer->val = bytes;
	return !io_uring_mshot_cmd_post_cqe(cmd, buffer, issue_flags);
}

/* Puts the buffer back unused: it will be the next one again. */
static inline void ubd_cmd_put_buffer(struct io_uring_cmd *cmd, ubd_cmd_buffer *buffer,
				      unsigned int issue_flags)
{
	buffer->val = 0;
	io_uring_mshot_cmd_post_cqe(cmd, buffer, issue_flags);
}
#else
#define UBD_F_BATCH_HERE  0
#define UBD_CMD_MULTISHOT U32_MAX

typedef int ubd_cmd_buffer;

static inline u16 ubd_cmd_buf_group(const struct io_uring_cmd *cmd)
{
	return 0;
}

static inline void __user *ubd_cmd_get_buffer(struct io_uring_cmd *cmd, u16 buf_group, size_t *len,
					      unsigned int issue_flags, ubd_cmd_buffer *ret_buffer)
{
	return NULL;
}

static inline bool ubd_cmd_post(struct io_uring_cmd *cmd, ubd_cmd_buffer *buffer, int bytes,
				unsigned int issue_flags)
{
	return false;
}

static inline void ubd_cmd_put_buffer(struct io_uring_cmd *cmd, ubd_cmd_buffer *buffer,
				      unsigned int issue_flags)
{
}
#endif

/* Overrides IOSQE_CQE_SKIP_SUCCESS: the result is not negative, yet not a full success. */
static inline void ubd_cmd_want_cqe(struct io_uring_cmd *cmd)
{
	cmd_to_io_kiocb(cmd)->flags &= ~REQ_F_CQE_SKIP;
}

/*
 * What ->uring_cmd() must return so that @res becomes the CQE's result. Returning a positive @res
 * itself would lose its value on 6.1, and would leave a marked command among the cancelable ones.
 */
static inline int ubd_cmd_return(struct io_uring_cmd *cmd, int res, unsigned int issue_flags)
{
	if (res != -EIOCBQUEUED)
		ubd_cmd_done(cmd, res, issue_flags);
	return -EIOCBQUEUED;
}

#endif
