// SPDX-License-Identifier: GPL-2.0-only
/*
 * The data of requests. It is copied, never pinned: by the driver, a WRITE's in the fetching
 * task before its CQE and a READ's in the committing task, and then a copy that faults fails
 * the request; or by the server when and where it likes (UBD_F_USER_COPY). Or it is not copied:
 * io_uring reads and writes the pages of the request themselves (UBD_F_ZERO_COPY).
 */
#include <linux/blk-mq.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "ubd.h"

bool ubd_is_dying(void)
{
	return fatal_signal_pending(current) || (current->flags & PF_EXITING);
}

/* Copies from byte @skip of the request on, as @data has room for; returns how much it could. */
static size_t ubd_copy_segments(struct request *rq, size_t skip, struct iov_iter *data)
{
	size_t wanted = iov_iter_count(data);
	struct bio *bio;

	__rq_for_each_bio(bio, rq) {
		struct bvec_iter pos, start = bio->bi_iter;
		struct bio_vec seg;

		if (skip >= start.bi_size) {
			skip -= start.bi_size;
			continue;
		}
		bio_advance_iter(bio, &start, skip);
		skip = 0;
		__bio_for_each_segment(seg, bio, pos, start) {
			size_t len = min_t(size_t, seg.bv_len, iov_iter_count(data)), copied;
			void *bytes = bvec_kmap_local(&seg);

			if (iov_iter_rw(data) == READ)
				copied = _copy_to_iter(bytes, len, data);
			else
				copied = _copy_from_iter(bytes, len, data);
			kunmap_local(bytes);
			if (copied != len || !iov_iter_count(data))
				return wanted - iov_iter_count(data);
		}
	}
	return wanted - iov_iter_count(data);
}

/* ---- by the driver ---- */

/*
 * Without the checks that copy_to_user() makes of objects in the kernel, as all that copies
 * to and from bios: their pages may be of any slab cache.
 */
static int ubd_copy_data(struct request *rq, u64 addr)
{
	bool is_write = req_op(rq) == REQ_OP_WRITE;
	void __user *data = u64_to_user_ptr(addr);
	struct req_iterator pos;
	struct bio_vec seg;

	rq_for_each_segment(seg, rq, pos) {
		void *bytes = bvec_kmap_local(&seg);
		unsigned long left;

		if (is_write)
			left = _copy_to_user(data, bytes, seg.bv_len);
		else
			left = _copy_from_user(bytes, data, seg.bv_len);
		kunmap_local(bytes);
		if (left)
			return -EFAULT;
		data += seg.bv_len;
	}
	return 0;
}

/* ---- as a fixed buffer of a ring ---- */

static void ubd_forget_buffer(struct ubd_tag *tag)
{
	if (tag->ring)
		atomic_dec(&tag->queue->dev->nr_buffers);
	tag->ring = NULL;
}

/* io_uring has done with the pages. */
static void ubd_buffer_released(void *data)
{
	struct request *rq = data;
	struct ubd_queue *q = rq->mq_hctx->driver_data;
	struct ubd_tag *tag = &q->tags[rq->tag];

	spin_lock(&tag->lock);
	ubd_forget_buffer(tag);
	spin_unlock(&tag->lock);
	ubd_drop_hold(tag);
}

/* The tag is in MOVING, so nobody settles its request meanwhile. */
static int ubd_register(struct ubd_tag *tag, struct io_uring_cmd *cmd, struct request *rq,
			u32 index, unsigned int issue_flags)
{
	int err;

	spin_lock(&tag->lock);
	tag->holds++;
	tag->ring = ubd_cmd_ring(cmd);
	tag->buffer = index;
	atomic_inc(&tag->queue->dev->nr_buffers);
	spin_unlock(&tag->lock);

	err = ubd_cmd_register(cmd, rq, ubd_buffer_released, index, issue_flags);
	if (err)
		ubd_buffer_released(rq);
	return err;
}

bool ubd_take_buffer(struct ubd_tag *tag, struct io_uring_cmd *cmd, u32 *ret_index)
{
	if (!tag->ring || ubd_is_elsewhere(tag, cmd))
		return false;
	ubd_forget_buffer(tag);
	*ret_index = tag->buffer;
	return true;
}

void ubd_take_buffers(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_device *dev = ubd_cmd(cmd)->tag->queue->dev;
	unsigned int depth = dev->tag_set.queue_depth;

	for (unsigned int i = 0; i < dev->tag_set.nr_hw_queues * depth; i++) {
		struct ubd_tag *tag = &dev->queues[i / depth].tags[i % depth];
		bool taken;
		u32 index;

		if (!atomic_read(&dev->nr_buffers))
			break;
		spin_lock(&tag->lock);
		taken = ubd_has_lost_server(tag) && ubd_take_buffer(tag, cmd, &index);
		spin_unlock(&tag->lock);
		if (taken)
			ubd_cmd_unregister(cmd, index, issue_flags);
	}
}

/* ---- around the time that the server has it ---- */

static bool ubd_copies_data(const struct ubd_tag *tag)
{
	return !(tag->queue->dev->features & UBD_F_USER_COPY);
}

bool ubd_is_addr_valid(const struct ubd_tag *tag, u64 addr)
{
	if (ubd_copies_data(tag))
		return addr;
	return addr <= (tag->queue->dev->features & UBD_F_ZERO_COPY ? U16_MAX : 0);
}

int ubd_bring_data(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags,
		   u32 *ret_op_flags)
{
	if (ubd_copies_data(tag))
		return ubd_copy_data(tag->rq, tag->addr);
	/* If it fails, the server can still copy. */
	if (!ubd_register(tag, cmd, tag->rq, tag->addr, issue_flags))
		*ret_op_flags = UBD_IO_F_REGISTERED;
	return 0;
}

int ubd_take_data(struct ubd_tag *tag, struct request *rq, u64 addr)
{
	if (!ubd_copies_data(tag) || req_op(rq) != REQ_OP_READ)
		return 0;
	return ubd_copy_data(rq, addr);
}

/* ---- by the server ---- */

/* The server has the tag's request: it does not end before ubd_drop_hold(). */
static int ubd_hold(struct ubd_tag *tag, struct request **ret_rq)
{
	int err = 0;

	spin_lock(&tag->lock);
	if (ubd_has_lost_server(tag)) {
		err = -ENODEV;
	} else if (tag->state != UBD_TAG_SERVED) {
		err = -EINVAL;
	} else {
		tag->holds++;
		*ret_rq = tag->rq;
	}
	spin_unlock(&tag->lock);
	return err;
}

static ssize_t ubd_copy_held(struct request *rq, enum req_op op, size_t skip, struct iov_iter *data)
{
	size_t copied;

	if (req_op(rq) != op || skip + iov_iter_count(data) > blk_rq_bytes(rq))
		return -EINVAL;
	copied = ubd_copy_segments(rq, skip, data);
	return copied || !iov_iter_count(data) ? copied : -EFAULT;
}

/* As ->read_iter and ->write_iter, for requests of @op. */
static ssize_t ubd_user_copy(struct kiocb *iocb, struct iov_iter *data, enum req_op op)
{
	struct ubd_device *dev = iocb->ki_filp->private_data;
	u64 pos = iocb->ki_pos;
	struct ubd_tag *tag;
	struct request *rq;
	ssize_t res;

	if (task_tgid(current) != dev->opener)
		return -EPERM;
	tag = ubd_find_tag(dev, pos >> UBD_DATA_QUEUE_SHIFT,
			   pos >> UBD_DATA_TAG_SHIFT & (UBD_MAX_QUEUE_DEPTH - 1));
	if (!tag || ubd_copies_data(tag))
		return -EINVAL;

	res = ubd_hold(tag, &rq);
	if (res)
		return res;
	res = ubd_copy_held(rq, op, pos & (UBD_MAX_IO_BYTES - 1), data);
	ubd_drop_hold(tag);
	if (res > 0)
		iocb->ki_pos += res;
	return res;
}

ssize_t ubd_read_iter(struct kiocb *iocb, struct iov_iter *data)
{
	return ubd_user_copy(iocb, data, REQ_OP_WRITE);
}

ssize_t ubd_write_iter(struct kiocb *iocb, struct iov_iter *data)
{
	return ubd_user_copy(iocb, data, REQ_OP_READ);
}
