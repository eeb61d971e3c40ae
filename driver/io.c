// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O commands: a server asks for requests (FETCH) and answers them (COMMIT). The
 * states of a tag are drawn in ubd.h.
 */
#include <linux/blk-mq.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

/* The kernel must not take for durable what a server, this one or one before it, has lost. */
static bool ubd_is_lost(const struct ubd_device *dev, const struct request *rq)
{
	return test_bit(UBD_LOST, &dev->flags) &&
	       (req_op(rq) == REQ_OP_FLUSH || (rq->cmd_flags & REQ_FUA));
}

static void ubd_note_loss(struct ubd_device *dev)
{
	if (!test_and_set_bit(UBD_LOST, &dev->flags))
		dev_warn(&dev->device, "written data may be lost; flushes fail from now on\n");
}

/*
 * What the server's result means. Only the errors that file systems act upon are
 * passed on: others, such as EAGAIN, would have a meaning inside the kernel
 * that a server has no say in.
 */
static blk_status_t ubd_result_status(const struct request *rq, s32 result)
{
	s64 wanted = ubd_has_data(rq) ? blk_rq_bytes(rq) : 0;

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

/*
 * Takes the request that the server has, and where its data is. A buffer can only be taken out
 * of a ring by a command on that ring; this one does so even if it comes too late for more.
 */
static int ubd_begin_commit(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags,
			    struct request **ret_rq, u64 *ret_addr)
{
	bool has_buffer;
	int err = 0;
	u32 index;

	spin_lock(&tag->lock);
	if (ubd_has_lost_server(tag)) {
		err = UBD_IO_RES_ABORT;
	} else if (tag->state != UBD_TAG_SERVED || ubd_is_elsewhere(tag, cmd)) {
		err = -EINVAL;
	} else {
		tag->state = UBD_TAG_COMMITTING;
		*ret_rq = tag->rq;
		*ret_addr = tag->addr;
	}
	has_buffer = err != -EINVAL && ubd_take_buffer(tag, cmd, &index);
	spin_unlock(&tag->lock);

	if (has_buffer)
		ubd_cmd_unregister(cmd, index, issue_flags);
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

int ubd_commit(struct ubd_tag *tag, struct io_uring_cmd *cmd, s32 result, u64 addr,
	       unsigned int issue_flags)
{
	blk_status_t status;
	struct request *rq;
	u64 data_addr;
	int err;

	err = ubd_begin_commit(tag, cmd, issue_flags, &rq, &data_addr);
	if (err)
		return err;

	trace_ubd_commit(rq, result);
	if (result == UBD_IO_RES_LOST)
		ubd_note_loss(tag->queue->dev);
	status = ubd_result_status(rq, result);
	if (ubd_is_lost(tag->queue->dev, rq))
		status = BLK_STS_IOERR;
	if (status == BLK_STS_OK && ubd_take_data(tag, rq, data_addr))
		status = BLK_STS_IOERR;
	if (status == BLK_STS_IOERR && result >= 0 && ubd_is_dying())
		return ubd_undo_commit(tag);

	if (cmd->cmd_op == UBD_IO_COMMIT_REQ)
		cmd = NULL;
	return ubd_end_commit(tag, status, cmd, addr);
}
