// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O commands: a server asks for requests (FETCH) and answers them (COMMIT). The
 * states of a tag are drawn in ubd.h.
 */
#include <linux/blk-mq.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

static bool ubd_moves_data(const struct request *rq)
{
	return req_op(rq) == REQ_OP_READ || req_op(rq) == REQ_OP_WRITE;
}

/*
 * What the server's result means. Only the errors that file systems act upon are
 * passed on: others, such as EAGAIN, would have a meaning inside the kernel
 * that a server has no say in.
 */
static blk_status_t ubd_result_status(const struct request *rq, s32 result)
{
	s64 wanted = ubd_moves_data(rq) ? blk_rq_bytes(rq) : 0;

	if (result == wanted)
		return BLK_STS_OK;
	if (result == -ENOSPC || result == -EDQUOT)
		return BLK_STS_NOSPC;
	if (result == -EOPNOTSUPP)
		return BLK_STS_NOTSUPP;
	return BLK_STS_IOERR;
}

/* A FETCH is refused: the device has ended, or the server that sends it is to. */
static bool ubd_takes_no_fetch(const struct ubd_tag *tag)
{
	return READ_ONCE(tag->queue->dev->flags) &
	       (BIT(UBD_ABORTED) | BIT(UBD_AWAY) | BIT(UBD_DRAINING));
}

/* START_DEV and END_RECOVERY wait for the first FETCH of every tag. Called under tag->lock. */
static bool ubd_is_first_fetch(struct ubd_tag *tag)
{
	bool first = !tag->fetched;

	tag->fetched = true;
	return first;
}

/* The tag has no FETCH, and its request, if there is one, has been committed or is new. */
static bool ubd_may_wait(const struct ubd_tag *tag)
{
	return tag->state == UBD_TAG_IDLE || tag->state == UBD_TAG_QUEUED ||
	       (tag->state == UBD_TAG_HELD && !tag->cmd);
}

int ubd_fetch(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr)
{
	struct ubd_device *dev = tag->queue->dev;
	bool has_request, first;
	int err = 0;

	spin_lock(&tag->lock);
	if (ubd_takes_no_fetch(tag))
		err = UBD_IO_RES_ABORT;
	else if (!ubd_may_wait(tag))
		err = -EBUSY;
	if (err) {
		spin_unlock(&tag->lock);
		return err;
	}
	has_request = tag->state == UBD_TAG_QUEUED;
	if (has_request)
		tag->since = jiffies;
	if (tag->state != UBD_TAG_HELD)
		tag->state = has_request ? UBD_TAG_HANDOVER : UBD_TAG_READY;
	tag->cmd = cmd;
	tag->addr = addr;
	first = ubd_is_first_fetch(tag);
	spin_unlock(&tag->lock);

	if (has_request)
		ubd_hand_over(cmd);
	if (first && atomic_dec_and_test(&dev->nr_unfetched))
		wake_up_all(&dev->wait);
	return -EIOCBQUEUED;
}

/* Takes the request that the server has, and where its data is. */
static int ubd_begin_commit(struct ubd_tag *tag, struct request **ret_rq, u64 *ret_addr)
{
	int err = 0;

	spin_lock(&tag->lock);
	if (ubd_tag_flag(tag, UBD_ABORTED) || ubd_tag_flag(tag, UBD_AWAY)) {
		err = UBD_IO_RES_ABORT;
	} else if (tag->state != UBD_TAG_SERVED) {
		err = -EINVAL;
	} else {
		tag->state = UBD_TAG_COMMITTING;
		*ret_rq = tag->rq;
		*ret_addr = tag->addr;
	}
	spin_unlock(&tag->lock);
	return err;
}

/* The server died while its answer was copied: the request may be one for the next. */
static int ubd_undo_commit(struct ubd_tag *tag)
{
	struct request *failed;

	ubd_server_gone(tag->queue->dev);
	spin_lock(&tag->lock);
	failed = ubd_settle(tag, ubd_tag_keeps(tag, true), BLK_STS_IOERR);
	spin_unlock(&tag->lock);

	if (failed)
		ubd_end_request(failed, BLK_STS_IOERR);
	return UBD_IO_RES_ABORT;
}

static int ubd_end_commit(struct ubd_tag *tag, blk_status_t status, struct io_uring_cmd *cmd,
			  u64 addr)
{
	struct request *rq;
	int res = 0;

	spin_lock(&tag->lock);
	if (cmd && ubd_takes_no_fetch(tag)) {
		res = UBD_IO_RES_ABORT;
	} else if (cmd) {
		tag->cmd = cmd;
		tag->addr = addr;
		res = -EIOCBQUEUED;
	}
	/* Before the request ends, since its tag may be used again at once. */
	rq = ubd_settle(tag, false, status);
	spin_unlock(&tag->lock);

	if (rq)
		ubd_end_request(rq, status);
	return res;
}

int ubd_commit(struct ubd_tag *tag, s32 result, struct io_uring_cmd *cmd, u64 addr)
{
	blk_status_t status;
	struct request *rq;
	u64 data_addr;
	int err;

	err = ubd_begin_commit(tag, &rq, &data_addr);
	if (err)
		return err;

	trace_ubd_commit(rq, result);
	status = ubd_result_status(rq, result);
	if (status == BLK_STS_OK && req_op(rq) == REQ_OP_READ && ubd_copies_data(tag) &&
	    ubd_copy_data(rq, ITER_SOURCE, data_addr))
		status = BLK_STS_IOERR;
	if (status == BLK_STS_IOERR && result >= 0 && ubd_is_dying())
		return ubd_undo_commit(tag);

	return ubd_end_commit(tag, status, cmd, addr);
}
