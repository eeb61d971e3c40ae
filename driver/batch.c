// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many requests at once to the server (UBD_F_BATCH). Each queue has one FETCH_BATCH, which stays
 * and posts tags into buffers that the server provides; a COMMIT_BATCH, see io.c, arms them again.
 * What happens to a single request is decided in queue.c and tag.c, as without batches.
 *
 * In a circle with queue.c, see ubd.h.
 *
 *   ubd_queue.pending  Tags in HANDOVER. Code that puts a tag there sets its bit, then calls
 *                      ubd_kick(). A bit may be stale: the tag's state decides.
 *   fetch, !busy       The FETCH_BATCH waits; ubd_queue.lock is needed to take or kick it.
 *   fetch, busy        Its task work is queued or running. Only that hands over the queue's
 *                      requests and completes the command.
 *   no fetch           Requests wait in HANDOVER: before the first FETCH_BATCH, or after -ENOBUFS.
 *
 * No request is forgotten: ubd_kick() takes the queue's lock after the bit is set, and the task
 * work checks the bits under that lock before it clears busy. So either the task work finds the
 * bit, or ubd_kick() finds the command idle. The device's flags that end the command are read in
 * the same place, so ubd_kick_all() is all that aborting and draining have to do.
 */
#include <linux/bitops.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "ubd.h"

#define UBD_TAGS_PER_CQE 64

void ubd_add_pending(struct ubd_tag *tag)
{
	set_bit(tag - tag->queue->tags, tag->queue->pending);
}

static bool ubd_has_pending(const struct ubd_queue *q)
{
	for (unsigned int i = 0; i < BITS_TO_LONGS(q->dev->tag_set.queue_depth); i++) {
		if (READ_ONCE(q->pending[i]))
			return true;
	}
	return false;
}

/*
 * Takes up to @max pending tags. Starts where the last call stopped; otherwise low tags could
 * starve high ones.
 */
static unsigned int ubd_take_pending(struct ubd_queue *q, u16 *tags, unsigned int max)
{
	unsigned int nr_words = BITS_TO_LONGS(q->dev->tag_set.queue_depth), nr = 0;

	for (unsigned int i = 0; i < nr_words && nr < max; i++) {
		unsigned int word = q->next_word;
		unsigned long bits = 0;

		if (READ_ONCE(q->pending[word]))
			bits = xchg(&q->pending[word], 0);
		for (; bits && nr < max; bits &= bits - 1)
			tags[nr++] = word * BITS_PER_LONG + __ffs(bits);
		for (; bits; bits &= bits - 1)
			set_bit(word * BITS_PER_LONG + __ffs(bits), q->pending);
		q->next_word = word + 1 < nr_words ? word + 1 : 0;
	}
	return nr;
}

/*
 * Hands over the requests of @nr tags. Moves the tags that the server now has to the front and
 * returns their number.
 */
static unsigned int ubd_serve(struct ubd_queue *q, struct io_uring_cmd *cmd, u16 *tags,
			      unsigned int nr, int err, unsigned int issue_flags)
{
	unsigned int nr_served = 0;

	for (unsigned int i = 0; i < nr; i++) {
		if (ubd_move(&q->tags[tags[i]], cmd, err, issue_flags) == UBD_IO_RES_OK)
			tags[nr_served++] = tags[i];
	}
	return nr_served;
}

/*
 * Undoes the handover of a request that cannot be reported to the server. If the tag is still
 * SERVED, it has the same request, since only this command makes it SERVED: so the server has not
 * guessed the tag and committed it. And if the server is gone, ubd_detach_tags() has yet to visit
 * this tag.
 */
static void ubd_take_back(struct ubd_tag *tag, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	bool back, has_buffer = false;
	u32 index;

	spin_lock(&tag->lock);
	back = tag->state == UBD_TAG_SERVED;
	if (back) {
		has_buffer = ubd_take_buffer(tag, cmd, &index);
		ubd_arm(tag, NULL, tag->addr);
		tag->turn++;
		tag->state = UBD_TAG_HANDOVER;
	}
	spin_unlock(&tag->lock);

	if (has_buffer)
		ubd_cmd_unregister(cmd, index, issue_flags);
	if (back)
		ubd_add_pending(tag);
}

/* Reports @nr tags to the server; without any, puts the buffer back. */
static int ubd_post_tags(struct io_uring_cmd *cmd, void __user *place, ubd_cmd_buffer *buffer,
			 const u16 *tags, unsigned int nr, unsigned int issue_flags)
{
	size_t bytes = nr * sizeof(*tags);

	if (!nr || copy_to_user(place, tags, bytes)) {
		ubd_cmd_put_buffer(cmd, buffer, issue_flags);
		return nr ? -EFAULT : 0;
	}
	/* R9: publishes the descriptors and the tags, see ubd_fill_desc(). */
	return ubd_cmd_post(cmd, buffer, bytes, issue_flags) ? 0 : -ENOBUFS;
}

/*
 * Hands over as many requests as one CQE can report. Takes the buffer first, since its size limits
 * their number. An error ends the command.
 */
static int ubd_serve_some(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	u16 tags[UBD_TAGS_PER_CQE];
	size_t len = sizeof(tags);
	ubd_cmd_buffer buffer;
	void __user *place;
	unsigned int nr;
	int err;

	place = ubd_cmd_get_buffer(cmd, q->buf_group, &len, issue_flags, &buffer);
	if (!place)
		return -ENOBUFS;
	if (len < sizeof(*tags)) {
		ubd_cmd_put_buffer(cmd, &buffer, issue_flags);
		return -ENOBUFS;
	}
	nr = ubd_take_pending(q, tags, len / sizeof(*tags));
	nr = ubd_serve(q, cmd, tags, nr, 0, issue_flags);
	err = ubd_post_tags(cmd, place, &buffer, tags, nr, issue_flags);
	for (unsigned int i = 0; err && i < nr; i++)
		ubd_take_back(&q->tags[tags[i]], cmd, issue_flags);
	return err;
}

/* The server is gone: settles what is left, unless ubd_detach_tags() is faster. */
static void ubd_serve_none(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	u16 tags[UBD_TAGS_PER_CQE];
	unsigned int nr;

	while ((nr = ubd_take_pending(q, tags, UBD_TAGS_PER_CQE)))
		ubd_serve(q, cmd, tags, nr, -EFAULT, issue_flags);
}

/* Returns the error that ends the command, -EAGAIN if there is more to do, 0 if it waits. */
static int ubd_end_turn(struct ubd_queue *q, int err)
{
	spin_lock(&q->lock);
	if (!err && ubd_has_pending(q))
		err = -EAGAIN;
	else if (!err && ubd_takes_no_fetch(q->dev))
		err = UBD_IO_RES_ABORT;
	if (err && err != -EAGAIN)
		q->fetch = NULL;
	if (err != -EAGAIN)
		q->busy = false;
	spin_unlock(&q->lock);
	return err;
}

static void ubd_run_batch(struct io_uring_cmd *cmd, unsigned int issue_flags);

UBD_CMD_TASK_WORK(ubd_batch_work, ubd_run_batch)

/*
 * Task work of a FETCH_BATCH. Requests that arrive meanwhile are left to the next run, since
 * io_uring publishes CQEs only after task work has returned.
 */
static void ubd_run_batch(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_queue *q = ubd_cmd(cmd)->queue;
	struct ubd_device *dev = q->dev;
	int err = 0;

	if (ubd_has_left_task(dev, cmd))
		ubd_server_gone(dev);
	if (ubd_is_server_lost(dev))
		ubd_serve_none(q, cmd, issue_flags);
	else if (ubd_has_pending(q))
		err = ubd_serve_some(q, cmd, issue_flags);

	err = ubd_end_turn(q, err);
	if (err == -EAGAIN) {
		io_uring_cmd_complete_in_task(cmd, ubd_batch_work);
	} else if (err) {
		ubd_take_buffers(cmd, issue_flags);
		ubd_cmd_done(cmd, err, issue_flags);
	}
}

void ubd_kick(struct ubd_queue *q)
{
	struct io_uring_cmd *cmd = NULL;

	spin_lock(&q->lock);
	if (q->fetch && !q->busy) {
		q->busy = true;
		cmd = q->fetch;
	}
	spin_unlock(&q->lock);

	if (cmd)
		io_uring_cmd_complete_in_task(cmd, ubd_batch_work);
}

void ubd_kick_all(struct ubd_device *dev)
{
	for (unsigned int i = 0; i < dev->tag_set.nr_hw_queues; i++)
		ubd_kick(&dev->queues[i]);
}

int ubd_fetch_batch(struct ubd_queue *q, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	int err = 0;

	ubd_cmd(cmd)->queue = q;
	ubd_cmd_mark_cancelable(cmd, issue_flags);
	spin_lock(&q->lock);
	if (ubd_takes_no_fetch(q->dev)) {
		err = UBD_IO_RES_ABORT;
	} else if (q->fetch) {
		err = -EBUSY;
	} else {
		q->fetch = cmd;
		q->buf_group = ubd_cmd_buf_group(cmd);
	}
	spin_unlock(&q->lock);
	if (err)
		return err;
	/* Requests may be pending already. */
	ubd_kick(q);
	return -EIOCBQUEUED;
}

void ubd_cancel_fetch_batch(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_queue *q = ubd_cmd(cmd)->queue;
	bool waits;

	spin_lock(&q->lock);
	waits = q->fetch == cmd && !q->busy;
	if (waits)
		q->fetch = NULL;
	spin_unlock(&q->lock);

	ubd_server_gone(q->dev);
	if (!waits)
		return;
	ubd_take_buffers(cmd, issue_flags);
	ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
}

bool ubd_has_orphan_batch(struct ubd_device *dev)
{
	bool orphan = false;

	for (unsigned int i = 0; i < dev->tag_set.nr_hw_queues && !orphan; i++) {
		struct ubd_queue *q = &dev->queues[i];

		spin_lock(&q->lock);
		orphan = q->fetch && ubd_cmd_is_orphan(q->fetch);
		spin_unlock(&q->lock);
	}
	return orphan;
}
