// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests: how one gets from blk-mq to the server. The states of its tag are drawn in ubd.h.
 *
 * A request that finds no FETCH on its tag is kept (UBD_TAG_QUEUED) until one comes: after a
 * COMMIT_REQ, which does not fetch, and while the device waits for a new server. blk-mq is never
 * told to requeue.
 *
 * In a circle with batch.c, copy.c, tag.c and recovery.c, see ubd.h.
 */
#include <linux/blk-mq.h>
#include <linux/bottom_half.h>
#include <linux/sched.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

/* ---- requests ---- */

/*
 * Ending a request may drop the last reference to a file: that of asynchronous I/O does so if its
 * caller has closed the file. In task context fput() leaves the release to the current task, which
 * here is the server, and the release may wait for I/O on the server's own disk. With bottom halves
 * disabled, fput() leaves it to a work item.
 *
 * There is one such item for the whole system. A release that waits for the next server would keep
 * the item from the files of the last server, and the next server waits for those. Therefore
 * ubd_settle_lost() ends no request of a device whose requests wait for a server.
 */
static void ubd_finish_request(struct request *rq, blk_status_t status)
{
	trace_ubd_end(rq, status);
	local_bh_disable();
	blk_mq_end_request(rq, status);
	local_bh_enable();
}

void ubd_end_request(struct request *rq, blk_status_t status)
{
	struct ubd_queue *q = rq->mq_hctx->driver_data;

	ubd_rate_end(q->dev, rq);
	ubd_finish_request(rq, status);
}

/* No unprivileged device has batches, so there is no rate to account for. */
void ubd_end_in_batch(struct request *rq, blk_status_t status, struct io_comp_batch *batch)
{
	if (blk_mq_add_to_batch(rq, batch, status != BLK_STS_OK, blk_mq_end_request_batch))
		trace_ubd_end(rq, status);
	else
		ubd_end_request(rq, status);
}

void ubd_end_batch(struct io_comp_batch *batch)
{
	if (!batch || !batch->complete)
		return;
	local_bh_disable();
	batch->complete(batch);
	local_bh_enable();
	*batch = (struct io_comp_batch){};
}

/*
 * Returns the wire's operation, or a negative errno for operations that are not sent to a server.
 */
static int ubd_wire_op(const struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_READ:
		return UBD_IO_OP_READ;
	case REQ_OP_WRITE:
		return UBD_IO_OP_WRITE;
	case REQ_OP_FLUSH:
		return UBD_IO_OP_FLUSH;
	case REQ_OP_DISCARD:
		return UBD_IO_OP_DISCARD;
	case REQ_OP_WRITE_ZEROES:
		return UBD_IO_OP_WRITE_ZEROES;
	default:
		return -EOPNOTSUPP;
	}
}

static void ubd_fill_desc(struct ubd_tag *tag, const struct request *rq, u64 addr, u32 op_flags)
{
	struct ubd_queue *q = tag->queue;
	struct ubdsrv_io_desc *desc = &q->descs[tag - q->tags];

	op_flags |= ubd_wire_op(rq);
	if (rq->cmd_flags & REQ_FUA)
		op_flags |= UBD_IO_F_FUA;
	if (req_op(rq) == REQ_OP_WRITE_ZEROES && (rq->cmd_flags & REQ_NOUNMAP))
		op_flags |= UBD_IO_F_NOUNMAP;

	/*
	 * R9: plain stores. io_uring publishes the CQE after them, in this task, with a
	 * store-release of the CQ ring's tail; the server reads the tail with a load-acquire, and
	 * the descriptor after that. Nobody reads it earlier. The server's reads of the previous
	 * request happened before its COMMIT, which happened before we got here, through tag->lock.
	 */
	desc->op_flags = op_flags;
	desc->nr_sectors = req_op(rq) == REQ_OP_FLUSH ? 0 : blk_rq_sectors(rq);
	desc->start_sector = req_op(rq) == REQ_OP_FLUSH ? 0 : blk_rq_pos(rq);
	desc->addr = addr;
}

/* ---- to the server ---- */

/*
 * There are three outcomes. The server has the request. Or the request failed, and the FETCH waits
 * for the next one or must end. Or the server is gone, and the request failed or waits for another
 * server. Returns the result of the FETCH, or -EIOCBQUEUED if it waits, and a request that failed
 * in @ret_failed. Under tag->lock.
 */
static int ubd_end_move(struct ubd_tag *tag, int err, u32 op_flags, struct request **ret_failed)
{
	if (ubd_has_lost_server(tag)) {
		ubd_disarm(tag);
		*ret_failed = ubd_settle_lost(tag);
		return UBD_IO_RES_ABORT;
	}
	if (!err) {
		ubd_fill_desc(tag, tag->rq, tag->addr, op_flags);
		ubd_disarm(tag);
		tag->turn++;
		tag->state = UBD_TAG_SERVED;
		trace_ubd_serve(tag->rq);
		return UBD_IO_RES_OK;
	}
	if (ubd_tag_flag(tag, UBD_DRAINING))
		ubd_disarm(tag);
	*ret_failed = ubd_settle(tag, false, BLK_STS_IOERR);
	return tag->armed ? -EIOCBQUEUED : UBD_IO_RES_ABORT;
}

/* As ubd_end_move(); -EAGAIN if memory is missing. */
static int ubd_try_move(struct ubd_tag *tag, struct io_uring_cmd *cmd, int err,
			unsigned int issue_flags, struct ubd_copy *copy,
			struct request **ret_failed)
{
	int res = UBD_IO_RES_ABORT;
	u32 index, op_flags = 0;
	bool has_buffer = false;

	spin_lock(&tag->lock);
	/* If the tag was detached in the meantime, it may belong to another server. */
	if (tag->state == UBD_TAG_HANDOVER && (!tag->cmd || tag->cmd == cmd)) {
		if (!err && ubd_brings_data(tag))
			err = ubd_bring_data(tag, cmd, issue_flags, copy, &op_flags);
		res = err;
		if (err != -EAGAIN)
			res = ubd_end_move(tag, err, op_flags, ret_failed);
		/* No COMMIT will remove the buffer. */
		has_buffer = res == UBD_IO_RES_ABORT && ubd_take_buffer(tag, cmd, &index);
	}
	spin_unlock(&tag->lock);

	if (has_buffer)
		ubd_cmd_unregister(cmd, index, issue_flags);
	return res;
}

int ubd_move(struct ubd_tag *tag, struct io_uring_cmd *cmd, int err, unsigned int issue_flags)
{
	struct request *failed = NULL;
	struct ubd_copy copy;
	int res;

	copy.done = 0;

	while ((res = ubd_try_move(tag, cmd, err, issue_flags, &copy, &failed)) == -EAGAIN) {
		err = ubd_fault_in(&copy);
		if (err && ubd_is_dying())
			ubd_server_gone(tag->queue->dev);
	}
	if (failed)
		ubd_end_request(failed, BLK_STS_IOERR);
	return res;
}

bool ubd_has_left_task(const struct ubd_device *dev, struct io_uring_cmd *cmd)
{
	return task_tgid(current) != dev->opener || (current->flags & PF_EXITING) ||
	       ubd_cmd_is_orphan(cmd);
}

/* Task work of a FETCH that has got a request. The request fails if @err is set. */
static void ubd_deliver(struct io_uring_cmd *cmd, int err, unsigned int issue_flags)
{
	/* From here on another thread may commit the tag: it is no longer ours. */
	int res = ubd_move(ubd_cmd(cmd)->tag, cmd, err, issue_flags);

	/* R9: publishes the descriptor, see ubd_fill_desc(). */
	if (res != -EIOCBQUEUED)
		ubd_cmd_done(cmd, res, issue_flags);
}

static struct io_uring_cmd *ubd_batched_cmd(struct llist_node *node)
{
	return container_of((void *)llist_entry(node, struct ubd_cmd, next), struct io_uring_cmd,
			    pdu);
}

/*
 * Handles all FETCHes of one task and ring that got requests together. It does not matter whose
 * task work this is: all of them would run in the same place.
 */
static void ubd_deliver_batch(struct io_uring_cmd *first, unsigned int issue_flags)
{
	struct ubd_device *dev = first->file->private_data;
	struct llist_node *node, *next;
	int err = 0;

	if (ubd_has_left_task(dev, first)) {
		ubd_server_gone(dev);
		err = -EFAULT;
	}
	llist_for_each_safe(node, next, &ubd_cmd(first)->next)
		ubd_deliver(ubd_batched_cmd(node), err, issue_flags);
}

UBD_CMD_TASK_WORK(ubd_deliver_work, ubd_deliver_batch)

void ubd_hand_over(struct ubd_tag *tag, struct io_uring_cmd *cmd)
{
	if (!cmd) {
		ubd_add_pending(tag);
		ubd_kick(tag->queue);
		return;
	}
	ubd_cmd(cmd)->next.next = NULL;
	io_uring_cmd_complete_in_task(cmd, ubd_deliver_work);
}

/*
 * blk-mq hands requests out in batches. One task work serves all of a batch for which the same
 * thread has FETCHes on the same ring. A queue may run on several CPUs at once; whichever reaches
 * the end of a batch also sends what the others have added so far.
 */
static void ubd_send_batch(struct ubd_queue *q)
{
	struct llist_node *node;

	if (q->dev->features & UBD_F_BATCH) {
		ubd_kick(q);
		return;
	}
	node = llist_reverse_order(llist_del_all(&q->batch));
	while (node) {
		struct io_uring_cmd *first = ubd_batched_cmd(node);
		struct llist_node *rest;

		while (node->next && ubd_cmds_go_together(first, ubd_batched_cmd(node->next)))
			node = node->next;
		/* Cut the list here, since the first part is gone as soon as it is queued. */
		rest = node->next;
		node->next = NULL;
		io_uring_cmd_complete_in_task(first, ubd_deliver_work);
		node = rest;
	}
}

static void ubd_end_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	ubd_take_buffers(cmd, issue_flags);
	ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
}

UBD_CMD_TASK_WORK(ubd_abort_work, ubd_end_fetch)

void ubd_abort_fetch(struct io_uring_cmd *cmd)
{
	io_uring_cmd_complete_in_task(cmd, ubd_abort_work);
}

/* A partition may extend past the end of a disk that has shrunk. */
static bool ubd_is_beyond_end(const struct request *rq)
{
	/*
	 * The capacity changes without a lock; requests under way at that moment see the old one.
	 */
	sector_t capacity = data_race(get_capacity(rq->q->disk));

	return req_op(rq) != REQ_OP_FLUSH && blk_rq_pos(rq) + blk_rq_sectors(rq) > capacity;
}

/* The block layer merely warns about writes to a read-only disk. */
static bool ubd_is_forbidden_write(const struct ubd_device *dev, const struct request *rq)
{
	return (dev->params.attrs & UBD_ATTR_READ_ONLY) && op_is_write(req_op(rq));
}

/* Refuses requests that are not sent to a server. */
static blk_status_t ubd_check_request(const struct ubd_device *dev, const struct request *rq)
{
	if (ubd_wire_op(rq) < 0)
		return BLK_STS_NOTSUPP;
	if (ubd_is_beyond_end(rq) || ubd_is_forbidden_write(dev, rq))
		return BLK_STS_IOERR;
	return BLK_STS_OK;
}

static blk_status_t ubd_accept(struct ubd_queue *q, struct request *rq)
{
	struct ubd_tag *tag = &q->tags[rq->tag];
	blk_status_t status = ubd_check_request(q->dev, rq);
	struct io_uring_cmd *cmd;
	bool armed;

	if (status != BLK_STS_OK)
		return status;

	blk_mq_start_request(rq);

	spin_lock(&tag->lock);
	if (ubd_tag_flag(tag, UBD_ABORTED) || ubd_tag_flag(tag, UBD_FAILING)) {
		spin_unlock(&tag->lock);
		return BLK_STS_IOERR;
	}
	trace_ubd_queue(rq);
	armed = tag->armed;
	cmd = tag->cmd;
	tag->rq = rq;
	tag->keep = true;
	tag->status = BLK_STS_OK;
	tag->since = jiffies;
	tag->state = armed ? UBD_TAG_HANDOVER : UBD_TAG_QUEUED;
	ubd_rate_begin(q->dev, rq);
	spin_unlock(&tag->lock);

	if (cmd)
		llist_add(&ubd_cmd(cmd)->next, &q->batch);
	else if (armed)
		ubd_add_pending(tag);
	return BLK_STS_OK;
}

static blk_status_t ubd_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct ubd_queue *q = hctx->driver_data;
	blk_status_t status = ubd_accept(q, bd->rq);

	/*
	 * After an error, it depends on the version of blk-mq whether it reports the end of the
	 * batch.
	 */
	if (bd->last || status != BLK_STS_OK)
		ubd_send_batch(q);
	return status;
}

/* The requests that a plug has gathered for the disk, perhaps for several of its queues. */
static void ubd_queue_rqs(ubd_rq_list *requests)
{
	struct ubd_queue *q = NULL;
	struct request *rq;

	while ((rq = rq_list_pop(requests))) {
		struct ubd_queue *next = rq->mq_hctx->driver_data;
		blk_status_t status;

		if (q && q != next)
			ubd_send_batch(q);
		q = next;
		status = ubd_accept(q, rq);
		if (status != BLK_STS_OK)
			ubd_finish_request(rq, status);
	}
	if (q)
		ubd_send_batch(q);
}

/* The batch is over although its last request did not say so. */
static void ubd_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	ubd_send_batch(hctx->driver_data);
}

static int ubd_init_hctx(struct blk_mq_hw_ctx *hctx, void *data, unsigned int queue_num)
{
	struct ubd_device *dev = data;

	hctx->driver_data = &dev->queues[queue_num];
	return 0;
}

/*
 * Called about once a second while there are requests. Decides nothing itself: the work checks
 * whether the server lives and answers, see char.c.
 */
static enum blk_eh_timer_return ubd_timeout(struct request *rq)
{
	struct ubd_queue *q = rq->mq_hctx->driver_data;

	ubd_queue_work(q->dev, ubd_check_wq, &q->dev->check_work);
	return BLK_EH_RESET_TIMER;
}

const struct blk_mq_ops ubd_mq_ops = {
	.queue_rq = ubd_queue_rq,
	.queue_rqs = UBD_TAKES_PLUGS ? ubd_queue_rqs : NULL,
	.commit_rqs = ubd_commit_rqs,
	.timeout = ubd_timeout,
	.init_hctx = ubd_init_hctx,
};
