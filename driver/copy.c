// SPDX-License-Identifier: GPL-2.0-only
/*
 * The data of requests. The driver copies it, never pinning the server's memory: that of a WRITE in
 * the fetching task before its CQE, that of a READ in the committing task. A request fails if its
 * copy faults. Or the server copies the data, when and where it likes (UBD_F_USER_COPY). Or it is
 * not copied at all, and io_uring reads and writes the pages of the request themselves
 * (UBD_F_ZERO_COPY).
 *
 * A copy never waits for the server's memory, which may belong to a file system whose server does
 * not answer: page faults are disabled during the copy. If memory is missing, the request goes back
 * to its previous state, where others can take it; then the memory is faulted in and the tag is
 * looked at again. So a request is never out of reach for longer than it takes to copy its data.
 *
 * In a circle with queue.c and tag.c, see ubd.h.
 */
#include <linux/blk-mq.h>
#include <linux/hash.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "ubd.h"

/* Up to this size data is copied under tag->lock, which is cheaper than claiming the tag. */
#define UBD_SHORT_COPY SZ_16K

bool ubd_is_dying(void)
{
	return fatal_signal_pending(current) || (current->flags & PF_EXITING);
}

/* Copies from byte @skip of the request on, as much as fits @data. Returns how much was copied. */
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

/* What the kernel can map as one piece: several adjacent pages too, if all memory stays mapped. */
#ifdef CONFIG_KMAP_LOCAL
#define ubd_iter_piece(bvecs, pos) bvec_iter_bvec(bvecs, pos)
#else
#define ubd_iter_piece(bvecs, pos) mp_bvec_iter_bvec(bvecs, pos)
#endif

/*
 * Omits copy_to_user()'s checks of kernel objects, as does all code that copies to and from bios:
 * their pages may belong to any slab cache.
 */
static int ubd_copy_piece(struct bio_vec *piece, size_t skip, bool is_write, struct ubd_copy *copy)
{
	void __user *data = u64_to_user_ptr(copy->addr + copy->done);
	void *bytes = bvec_kmap_local(piece);
	size_t len = piece->bv_len - skip;
	unsigned long left;

	if (is_write)
		left = _copy_to_user(data, bytes + skip, len);
	else
		left = _copy_from_user(bytes + skip, data, len);
	kunmap_local(bytes);
	copy->done += len - left;
	return left ? -EFAULT : 0;
}

/* Continues from where @copy has got to; -EFAULT when it reaches memory that is missing. */
static int ubd_copy_on(struct request *rq, struct ubd_copy *copy)
{
	bool is_write = req_op(rq) == REQ_OP_WRITE;
	size_t skip = copy->done;
	int err = 0;

	pagefault_disable();
	for (struct bio *bio = rq->bio; bio && !err; bio = bio->bi_next) {
		struct bvec_iter pos = bio->bi_iter;

		while (pos.bi_size && !err) {
			struct bio_vec piece = ubd_iter_piece(bio->bi_io_vec, pos);

			bvec_iter_advance_single(bio->bi_io_vec, &pos, piece.bv_len);
			if (skip >= piece.bv_len) {
				skip -= piece.bv_len;
				continue;
			}
			err = ubd_copy_piece(&piece, skip, is_write, copy);
			skip = 0;
		}
	}
	pagefault_enable();
	return err;
}

/*
 * Copies the data of a tag's request. If that takes long, puts the tag into state @claim and drops
 * tag->lock meanwhile. Under tag->lock.
 */
static int ubd_copy_data(struct ubd_tag *tag, enum ubd_tag_state claim, struct ubd_copy *copy)
	__must_hold(&tag->lock)
{
	enum ubd_tag_state was = tag->state;
	struct request *rq = tag->rq;
	int err;

	copy->turn = tag->turn;
	copy->bytes = blk_rq_bytes(rq);
	copy->is_write = req_op(rq) == REQ_OP_WRITE;
	if (copy->bytes <= UBD_SHORT_COPY)
		return ubd_copy_on(rq, copy) ? -EAGAIN : 0;

	tag->state = claim;
	spin_unlock(&tag->lock);
	err = ubd_copy_on(rq, copy);
	spin_lock(&tag->lock);
	/* If the server is gone, the caller settles the request. */
	if (err && !ubd_has_lost_server(tag)) {
		tag->state = was;
		err = -EAGAIN;
	}
	return err;
}

int ubd_fault_in(const struct ubd_copy *copy)
{
	char __user *data = u64_to_user_ptr(copy->addr + copy->done);
	size_t bytes = copy->bytes - copy->done, missing;

	if (copy->is_write)
		missing = fault_in_safe_writeable(data, bytes);
	else
		missing = fault_in_readable(data, bytes);
	return missing == bytes || ubd_is_dying() ? -EFAULT : 0;
}

/* ---- as a fixed buffer of a ring ---- */

static void ubd_forget_buffer(struct ubd_tag *tag)
{
	if (tag->ring)
		atomic_dec(&tag->queue->dev->nr_buffers);
	tag->ring = NULL;
}

/* io_uring has finished with the pages. */
static void ubd_buffer_released(void *data)
{
	struct ubd_tag *tag = ubd_request_tag(data);

	spin_lock(&tag->lock);
	ubd_forget_buffer(tag);
	spin_unlock(&tag->lock);
	ubd_drop_hold(tag);
}

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

/*
 * Returns whether the ring of @cmd has been swept before. Once is enough: a request that is being
 * handed over at that time removes its own buffer, see ubd_move().
 */
static bool ubd_is_swept(struct ubd_device *dev, struct io_uring_cmd *cmd)
{
	const void *ring = ubd_cmd_ring(cmd);

	return xchg(&dev->swept[hash_ptr(ring, UBD_SWEPT_BITS)], ring) == ring;
}

void ubd_take_buffers(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_device *dev = cmd->file->private_data;
	unsigned int nr = dev->tag_set.nr_hw_queues * dev->tag_set.queue_depth;

	if (!ubd_is_server_lost(dev) || ubd_is_swept(dev, cmd))
		return;
	for (unsigned int i = 0; i < nr; i++) {
		struct ubd_tag *tag = ubd_nth_tag(dev, i);
		bool taken;
		u32 index;

		if (!atomic_read(&dev->nr_buffers))
			break;
		spin_lock(&tag->lock);
		taken = ubd_take_buffer(tag, cmd, &index);
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

/* Nobody else can have the tag meanwhile, so nobody settles its request. Under tag->lock. */
static int ubd_bring_buffer(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags)
	__must_hold(&tag->lock)
{
	int err;

	tag->state = UBD_TAG_MOVING;
	spin_unlock(&tag->lock);
	err = ubd_register(tag, cmd, tag->rq, tag->addr, issue_flags);
	spin_lock(&tag->lock);
	return err;
}

int ubd_bring_data(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags,
		   struct ubd_copy *copy, u32 *ret_op_flags) __must_hold(&tag->lock)
{
	if (ubd_copies_data(tag)) {
		copy->addr = tag->addr;
		return ubd_copy_data(tag, UBD_TAG_MOVING, copy);
	}
	/* If that fails, the server can still copy. */
	if (!ubd_bring_buffer(tag, cmd, issue_flags))
		*ret_op_flags = UBD_IO_F_REGISTERED;
	return 0;
}

int ubd_take_data(struct ubd_tag *tag, struct ubd_copy *copy) __must_hold(&tag->lock)
{
	if (!ubd_copies_data(tag) || req_op(tag->rq) != REQ_OP_READ)
		return 0;
	copy->addr = tag->addr;
	return ubd_copy_data(tag, UBD_TAG_COMMITTING, copy);
}

/* ---- by the server ---- */

/* If the server has the tag's request, keeps the request from ending until ubd_drop_hold(). */
static int ubd_hold(struct ubd_tag *tag, struct request **ret_rq, unsigned int *ret_turn)
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
		*ret_turn = tag->turn;
	}
	spin_unlock(&tag->lock);
	return err;
}

/* Copies as much as it can without waiting for memory. */
static ssize_t ubd_copy_held(struct request *rq, enum req_op op, size_t skip, struct iov_iter *data)
{
	size_t copied;

	if (req_op(rq) != op || skip + iov_iter_count(data) > blk_rq_bytes(rq))
		return -EINVAL;
	pagefault_disable();
	copied = ubd_copy_segments(rq, skip, data);
	pagefault_enable();
	return copied;
}

/* -EFAULT if the caller's memory is missing and cannot be faulted in. */
static int ubd_fault_in_iter(struct iov_iter *data)
{
	size_t bytes = iov_iter_count(data), missing;

	if (iov_iter_rw(data) == READ)
		missing = fault_in_iov_iter_writeable(data, bytes);
	else
		missing = fault_in_iov_iter_readable(data, bytes);
	return missing == bytes || ubd_is_dying() ? -EFAULT : 0;
}

/* As ->read_iter and ->write_iter, for requests with operation @op. */
static ssize_t ubd_user_copy(struct kiocb *iocb, struct iov_iter *data, enum req_op op)
{
	struct ubd_device *dev = iocb->ki_filp->private_data;
	size_t copied = 0, skip = iocb->ki_pos & (UBD_MAX_IO_BYTES - 1);
	unsigned int turn, first_turn;
	bool begun = false;
	struct ubd_queue *q;
	struct ubd_tag *tag;
	struct request *rq;
	ssize_t res;

	if (task_tgid(current) != dev->opener)
		return -EPERM;
	q = ubd_find_queue(dev, iocb->ki_pos >> UBD_DATA_QUEUE_SHIFT);
	if (!q)
		return -EINVAL;
	tag = ubd_find_tag(q, iocb->ki_pos >> UBD_DATA_TAG_SHIFT & (UBD_MAX_QUEUE_DEPTH - 1));
	if (!tag || ubd_copies_data(tag))
		return -EINVAL;

	do {
		res = ubd_hold(tag, &rq, &turn);
		if (res)
			break;
		if (!begun)
			first_turn = turn;
		begun = true;
		/* The tag may have got another request while memory was being faulted in. */
		if (turn == first_turn)
			res = ubd_copy_held(rq, op, skip + copied, data);
		else
			res = -EINVAL;
		ubd_drop_hold(tag);
		if (res < 0)
			break;
		copied += res;
		if (!iov_iter_count(data))
			break;
		res = ubd_fault_in_iter(data);
	} while (!res);

	iocb->ki_pos += copied;
	return copied ?: res;
}

ssize_t ubd_read_iter(struct kiocb *iocb, struct iov_iter *data)
{
	return ubd_user_copy(iocb, data, REQ_OP_WRITE);
}

ssize_t ubd_write_iter(struct kiocb *iocb, struct iov_iter *data)
{
	return ubd_user_copy(iocb, data, REQ_OP_READ);
}
