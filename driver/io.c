// SPDX-License-Identifier: GPL-2.0-only
/*
 * The I/O commands, by which a server asks for requests (FETCH) and answers them (COMMIT): one by
 * one, or many at once with UBD_F_BATCH. The states of a tag are drawn in ubd.h.
 */
#include <linux/blk-mq.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "trace.h"
#include "ubd.h"

/* The kernel must not take for durable what this server, or an earlier one, has lost. */
static bool ubd_is_lost(const struct ubd_device *dev, const struct request *rq)
{
	return test_bit(UBD_LOST, &dev->flags) &&
	       (req_op(rq) == REQ_OP_FLUSH || (rq->cmd_flags & REQ_FUA));
}

/*
 * Translates the server's result. Passes on only the errors that file systems act upon; others,
 * such as EAGAIN, have a meaning inside the kernel that a server must not be able to invoke.
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

/* START_DEV and END_RECOVERY wait for the first FETCH of every tag. Called under tag->lock. */
static bool ubd_is_first_fetch(struct ubd_tag *tag)
{
	bool first = !tag->fetched;

	tag->fetched = true;
	return first;
}

/* The tag has no FETCH. Its request, if it has one, is committed or new. */
static bool ubd_may_wait(const struct ubd_tag *tag)
{
	return tag->state == UBD_TAG_IDLE || tag->state == UBD_TAG_QUEUED ||
	       (tag->state == UBD_TAG_HELD && !tag->armed);
}

/*
 * As ->uring_cmd. On -EIOCBQUEUED @cmd waits for a request; without @cmd the tag does, and the
 * FETCH_BATCH will report it.
 */
static int ubd_fetch(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr)
{
	struct ubd_device *dev = tag->queue->dev;
	bool has_request, first;
	struct request *failed;
	int err = 0;

	spin_lock(&tag->lock);
	if (ubd_takes_no_fetch(dev))
		err = UBD_IO_RES_ABORT;
	else if (!ubd_may_wait(tag))
		err = -EBUSY;
	if (err) {
		spin_unlock(&tag->lock);
		return err;
	}
	failed = ubd_add_fetch(tag, cmd, addr);
	has_request = tag->state == UBD_TAG_HANDOVER;
	first = ubd_is_first_fetch(tag);
	spin_unlock(&tag->lock);

	if (failed)
		ubd_end_request(failed, BLK_STS_IOERR);
	if (has_request)
		ubd_hand_over(tag, cmd);
	if (first && atomic_dec_and_test(&dev->nr_unfetched))
		wake_up_all(&dev->wait);
	return -EIOCBQUEUED;
}

/* The contents of a COMMIT. */
struct ubd_commit {
	s32 result;
	bool fetches;
	u64 addr;		     /* for the next request */
	struct io_comp_batch *batch; /* of a COMMIT_BATCH */
};

/* The progress of a COMMIT. */
struct ubd_progress {
	bool begun;
	bool lost; /* this COMMIT is the first to report a loss */
	struct ubd_copy copy;
};

/* Checks that the server has the tag's request and that @cmd may commit it. Under tag->lock. */
static int ubd_may_commit(const struct ubd_tag *tag, struct io_uring_cmd *cmd,
			  const struct ubd_progress *progress)
{
	if (ubd_has_lost_server(tag))
		return UBD_IO_RES_ABORT;
	if (tag->state != UBD_TAG_SERVED || ubd_is_elsewhere(tag, cmd))
		return -EINVAL;
	/* Another COMMIT was faster while memory was being faulted in. */
	if (progress->begun && progress->copy.turn != tag->turn)
		return -EINVAL;
	return 0;
}

/* Returns the request's status, provided that its data can be copied. Under tag->lock. */
static blk_status_t ubd_commit_status(struct ubd_tag *tag, const struct ubd_commit *commit,
				      struct ubd_progress *progress)
{
	struct ubd_device *dev = tag->queue->dev;

	if (!progress->begun)
		trace_ubd_commit(tag->rq, commit->result);
	progress->begun = true;
	if (commit->result == UBD_IO_RES_LOST)
		progress->lost = !test_and_set_bit(UBD_LOST, &dev->flags);
	if (ubd_is_lost(dev, tag->rq))
		return BLK_STS_IOERR;
	return ubd_result_status(tag->rq, commit->result);
}

static void ubd_tell_loss(struct ubd_device *dev)
{
	dev_warn(&dev->device, "written data may be lost; flushes fail from now on\n");
	spin_lock(&dev->lock);
	ubd_note_change(dev);
	spin_unlock(&dev->lock);
}

/* Lets the tag wait for its next request, unless there will be none. Under tag->lock. */
static int ubd_refetch(struct ubd_tag *tag, struct io_uring_cmd *cmd,
		       const struct ubd_commit *commit)
{
	bool is_batch = commit->batch;

	if (!commit->fetches)
		return 0;
	/* In a batch, the FETCH_BATCH reports this. */
	if (ubd_takes_no_fetch(tag->queue->dev))
		return is_batch ? 0 : UBD_IO_RES_ABORT;
	ubd_arm(tag, is_batch ? NULL : cmd, commit->addr);
	return -EIOCBQUEUED;
}

/*
 * Settles the request before it ends, since its tag may be reused at once. Returns the result of
 * the COMMIT, -EIOCBQUEUED if it waits, or -EAGAIN if memory is missing. If the request has ended,
 * returns it in @ret_ended and its status in @ret_status. Under tag->lock.
 */
static int ubd_settle_commit(struct ubd_tag *tag, struct io_uring_cmd *cmd,
			     const struct ubd_commit *commit, struct ubd_progress *progress,
			     int fault, struct request **ret_ended, blk_status_t *ret_status)
{
	blk_status_t status = ubd_commit_status(tag, commit, progress);
	int res;

	if (status == BLK_STS_OK && !fault)
		fault = ubd_take_data(tag, &progress->copy);
	if (fault == -EAGAIN)
		return fault;
	/*
	 * The server is gone and its data could not be copied, so the next server may get the
	 * request.
	 */
	if (fault && ubd_has_lost_server(tag)) {
		*ret_status = BLK_STS_IOERR;
		*ret_ended = ubd_settle_lost(tag);
		return UBD_IO_RES_ABORT;
	}
	*ret_status = fault ? BLK_STS_IOERR : status;
	ubd_note_answer(tag->queue);
	res = ubd_refetch(tag, cmd, commit);
	*ret_ended = ubd_settle(tag, false, *ret_status);
	return res;
}

/*
 * As ubd_settle_commit(). Only a command on the same ring can remove a buffer from a ring; this one
 * does so even if it comes too late for anything else.
 */
static int ubd_try_commit(struct ubd_tag *tag, struct io_uring_cmd *cmd,
			  const struct ubd_commit *commit, struct ubd_progress *progress, int fault,
			  unsigned int issue_flags)
{
	struct request *ended = NULL;
	blk_status_t status;
	bool has_buffer;
	u32 index;
	int res;

	spin_lock(&tag->lock);
	res = ubd_may_commit(tag, cmd, progress);
	has_buffer = res != -EINVAL && ubd_take_buffer(tag, cmd, &index);
	if (!res)
		res = ubd_settle_commit(tag, cmd, commit, progress, fault, &ended, &status);
	spin_unlock(&tag->lock);

	/* Either may sleep: the first waits for the ring's uring_lock. */
	if (has_buffer || progress->lost)
		ubd_end_batch(commit->batch);
	if (has_buffer)
		ubd_cmd_unregister(cmd, index, issue_flags);
	if (progress->lost)
		ubd_tell_loss(tag->queue->dev);
	if (ended && commit->batch)
		ubd_end_in_batch(ended, status, commit->batch);
	else if (ended)
		ubd_end_request(ended, status);
	return res;
}

/*
 * Ends the request that the server has, then fetches if @commit says so: with @cmd, or if @commit
 * has a batch, with the FETCH_BATCH. As ->uring_cmd.
 */
static int ubd_commit(struct ubd_tag *tag, struct io_uring_cmd *cmd,
		      const struct ubd_commit *commit, unsigned int issue_flags)
{
	struct ubd_progress progress;
	int res, fault = 0;

	progress.begun = false;
	progress.lost = false;
	progress.copy.done = 0;
	while ((res = ubd_try_commit(tag, cmd, commit, &progress, fault, issue_flags)) == -EAGAIN) {
		/* Do not let other requests wait for the memory of this one. */
		ubd_end_batch(commit->batch);
		fault = ubd_fault_in(&progress.copy);
		if (fault && ubd_is_dying())
			ubd_server_gone(tag->queue->dev);
	}
	return res;
}

/* ---- COMMIT_BATCH ---- */

#define UBD_ENTRIES_PER_CHUNK 32

static bool ubd_is_entry_valid(const struct ubd_tag *tag, const struct ubd_batch_entry *entry)
{
	if (!entry->flags || (entry->flags & ~(UBD_BATCH_COMMIT | UBD_BATCH_FETCH)))
		return false;
	if (!(entry->flags & UBD_BATCH_COMMIT) && entry->result)
		return false;
	if (entry->flags & UBD_BATCH_FETCH)
		return ubd_is_addr_valid(tag, entry->addr);
	return !entry->addr;
}

static int ubd_do_entry(struct ubd_queue *q, struct io_uring_cmd *cmd,
			const struct ubd_batch_entry *entry, struct io_comp_batch *batch,
			unsigned int issue_flags)
{
	struct ubd_tag *tag = ubd_find_tag(q, entry->tag);
	struct ubd_commit commit = {
		.result = entry->result,
		.fetches = entry->flags & UBD_BATCH_FETCH,
		.addr = entry->addr,
		.batch = batch,
	};
	int res;

	if (!tag || !ubd_is_entry_valid(tag, entry))
		return -EINVAL;
	if (entry->flags & UBD_BATCH_COMMIT)
		res = ubd_commit(tag, cmd, &commit, issue_flags);
	else
		res = ubd_fetch(tag, NULL, entry->addr);
	return res == -EIOCBQUEUED ? 0 : res;
}

/*
 * Executes entries until one fails; the requests that they end have ended on return. Returns how
 * many succeeded, and in @ret_err why the next one did not.
 */
static unsigned int ubd_do_entries(struct ubd_queue *q, struct io_uring_cmd *cmd,
				   const struct ubd_batch_entry *entries, unsigned int nr,
				   unsigned int issue_flags, int *ret_err)
{
	struct io_comp_batch batch = {};
	unsigned int done;

	for (done = 0; done < nr; done++) {
		*ret_err = ubd_do_entry(q, cmd, &entries[done], &batch, issue_flags);
		if (*ret_err)
			break;
	}
	ubd_end_batch(&batch);
	return done;
}

static int ubd_commit_batch(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int nr,
			    u64 addr, unsigned int issue_flags)
{
	const struct ubd_batch_entry __user *entries = u64_to_user_ptr(addr);
	struct ubd_batch_entry chunk[UBD_ENTRIES_PER_CHUNK];
	unsigned int done = 0;
	int err = 0;

	if (!nr || nr > q->dev->tag_set.queue_depth)
		return -EINVAL;
	while (done < nr && !err) {
		unsigned int len = min_t(unsigned int, nr - done, ARRAY_SIZE(chunk));

		if (copy_from_user(chunk, entries + done, len * sizeof(*chunk)))
			err = -EFAULT;
		else
			done += ubd_do_entries(q, cmd, chunk, len, issue_flags, &err);
		cond_resched();
	}
	if (err == UBD_IO_RES_ABORT || !done)
		return err;
	if (err)
		ubd_cmd_want_cqe(cmd);
	return done;
}

/* ---- commands ---- */

/* Commands for one tag. */
static int ubd_tag_cmd(struct ubd_tag *tag, struct io_uring_cmd *cmd, s32 result, u64 addr,
		       unsigned int issue_flags)
{
	struct ubd_commit commit = { .result = result, .addr = addr };

	if (ubd_cmd_flags(cmd) || !tag)
		return -EINVAL;
	if (cmd->cmd_op == UBD_IO_COMMIT_REQ)
		return ubd_commit(tag, cmd, &commit, issue_flags);
	if (!ubd_is_addr_valid(tag, addr))
		return -EINVAL;

	ubd_cmd(cmd)->tag = tag;
	ubd_cmd_mark_cancelable(cmd, issue_flags);
	switch (cmd->cmd_op) {
	case UBD_IO_FETCH_REQ:
		return ubd_fetch(tag, cmd, addr);
	case UBD_IO_COMMIT_AND_FETCH_REQ:
		commit.fetches = true;
		return ubd_commit(tag, cmd, &commit, issue_flags);
	default:
		return -EINVAL;
	}
}

/* Commands of devices with UBD_F_BATCH: a COMMIT_BATCH has @nr entries at @addr. */
static int ubd_batch_cmd(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int nr, u64 addr,
			 unsigned int issue_flags)
{
	switch (cmd->cmd_op) {
	case UBD_IO_FETCH_BATCH:
		if (ubd_cmd_flags(cmd) != UBD_CMD_MULTISHOT || nr || addr)
			return -EINVAL;
		return ubd_fetch_batch(q, cmd, issue_flags);
	case UBD_IO_COMMIT_BATCH:
		if (ubd_cmd_flags(cmd))
			return -EINVAL;
		return ubd_commit_batch(q, cmd, nr, addr, issue_flags);
	default:
		return -EINVAL;
	}
}

static int ubd_io_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct ubdsrv_io_cmd *sqe = ubd_cmd_sqe(cmd, struct ubdsrv_io_cmd);
	struct ubd_device *dev = cmd->file->private_data;
	/* The SQE is in the server's memory: read each field once. */
	u16 q_id = READ_ONCE(sqe->q_id);
	u16 tag_nr = READ_ONCE(sqe->tag);
	s32 result = READ_ONCE(sqe->result);
	u64 addr = READ_ONCE(sqe->addr);
	struct ubd_queue *q;

	if (task_tgid(current) != dev->opener)
		return -EPERM;
	q = ubd_find_queue(dev, q_id);
	if (!q)
		return -EINVAL;
	if (!(dev->features & UBD_F_BATCH))
		return ubd_tag_cmd(ubd_find_tag(q, tag_nr), cmd, result, addr, issue_flags);
	if (result)
		return -EINVAL;
	return ubd_batch_cmd(q, cmd, tag_nr, addr, issue_flags);
}

int ubd_io_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_device *dev = cmd->file->private_data;

	if (ubd_cmd_is_canceled(issue_flags)) {
		if (dev->features & UBD_F_BATCH)
			ubd_cancel_fetch_batch(cmd, issue_flags);
		else
			ubd_cancel_fetch(cmd, issue_flags);
		return 0;
	}
	return ubd_cmd_return(cmd, ubd_io_cmd(cmd, issue_flags), issue_flags);
}
