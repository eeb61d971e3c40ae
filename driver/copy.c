// SPDX-License-Identifier: GPL-2.0-only
/*
 * The data of requests. It is copied, never pinned: by the driver, a WRITE's in the fetching
 * task before its CQE and a READ's in the committing task, and then a copy that faults fails
 * the request; or by the server when and where it likes (UBD_F_USER_COPY).
 */
#include <linux/blk-mq.h>
#include <linux/sched/signal.h>
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

int ubd_copy_data(struct request *rq, unsigned int direction, u64 addr)
{
	struct iov_iter data;
	int err;

	err = ubd_import_buffer(direction, addr, blk_rq_bytes(rq), &data);
	if (err)
		return err;
	return ubd_copy_segments(rq, 0, &data) == blk_rq_bytes(rq) ? 0 : -EFAULT;
}

/* ---- by the server ---- */

/* The server has the tag's request: it does not end before ubd_drop_hold(). */
static int ubd_hold(struct ubd_tag *tag, struct request **ret_rq)
{
	int err = 0;

	spin_lock(&tag->lock);
	if (ubd_tag_flag(tag, UBD_ABORTED) || ubd_tag_flag(tag, UBD_AWAY)) {
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
