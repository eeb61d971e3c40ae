// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a request leaves its tag, and what puts that off; what is done to all tags at once, namely
 * taking them from a server that is gone or leaving, and looking for lost FETCHes and overdue
 * requests; and the memory of tags.
 *
 * In a circle with queue.c, batch.c and recovery.c, see ubd.h.
 */
#include <linux/bitmap.h>
#include <linux/blk-mq.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "ubd.h"

/*
 * For devices whose server has not set its own. Only the administrator knows how long storage may
 * be away, or a debugger may stop a server.
 */
static unsigned int request_timeout;
module_param(request_timeout, uint, 0644);
MODULE_PARM_DESC(request_timeout, "Treat a server as dead if it has answered no request of a busy "
				  "queue for this many seconds; 0 for no limit (default 0)");

static unsigned int request_warning = 120;
module_param(request_warning, uint, 0644);
MODULE_PARM_DESC(request_warning, "Without a request timeout, log a warning after this many such "
				  "seconds; 0 for no warning (default 120)");

/* ---- the end of a request, and its holds ---- */

static struct request *ubd_settle_now(struct ubd_tag *tag)
{
	struct request *rq = tag->rq;

	if (tag->keep && !tag->armed) {
		tag->state = UBD_TAG_QUEUED;
		return NULL;
	}
	if (tag->keep && tag->status == BLK_STS_OK) {
		tag->since = jiffies;
		tag->state = UBD_TAG_HANDOVER;
		return NULL;
	}
	tag->rq = NULL;
	tag->state = tag->armed ? UBD_TAG_READY : UBD_TAG_IDLE;
	return rq;
}

struct request *ubd_settle(struct ubd_tag *tag, bool keep, blk_status_t status)
{
	tag->turn++;
	tag->keep = keep;
	tag->status = status;
	if (!tag->holds)
		return ubd_settle_now(tag);
	tag->state = UBD_TAG_HELD;
	return NULL;
}

struct request *ubd_settle_lost(struct ubd_tag *tag)
{
	u64 features = tag->queue->dev->features;

	if (ubd_tag_flag(tag, UBD_ABORTED) || (features & UBD_F_USER_RECOVERY_FAIL_IO))
		return ubd_settle(tag, false, BLK_STS_IOERR);
	switch (tag->state) {
	case UBD_TAG_SERVED:
	case UBD_TAG_COMMITTING:
		if (features & UBD_F_USER_RECOVERY_REISSUE)
			break;
		return ubd_settle(tag, true, BLK_STS_IOERR);
	case UBD_TAG_QUEUED:
	case UBD_TAG_HELD:
		return ubd_settle(tag, true, tag->status);
	default:
		break;
	}
	return ubd_settle(tag, true, BLK_STS_OK);
}

struct request *ubd_add_fetch(struct ubd_tag *tag, struct io_uring_cmd *cmd, u64 addr)
{
	ubd_arm(tag, cmd, addr);
	if (tag->state == UBD_TAG_QUEUED)
		return ubd_settle_now(tag);
	if (tag->state == UBD_TAG_IDLE)
		tag->state = UBD_TAG_READY;
	return NULL;
}

void ubd_drop_hold(struct ubd_tag *tag)
{
	struct request *rq = NULL;
	struct io_uring_cmd *cmd;
	bool has_request = false;
	blk_status_t status;

	spin_lock(&tag->lock);
	if (--tag->holds == 0 && tag->state == UBD_TAG_HELD) {
		rq = ubd_settle_now(tag);
		has_request = tag->state == UBD_TAG_HANDOVER;
	}
	cmd = tag->cmd;
	status = tag->status;
	spin_unlock(&tag->lock);

	if (rq)
		ubd_end_request(rq, status);
	if (has_request)
		ubd_hand_over(tag, cmd);
}

/* Calls @fn for every tag until it returns true. Returns whether it did. */
static bool ubd_any_tag(struct ubd_device *dev, bool (*fn)(struct ubd_tag *tag))
{
	for (unsigned int i = 0; i < dev->tag_set.nr_hw_queues; i++) {
		for (unsigned int j = 0; j < dev->tag_set.queue_depth; j++) {
			if (fn(&dev->queues[i].tags[j]))
				return true;
		}
		cond_resched();
	}
	return false;
}

/* ---- taking tags from a server ---- */

/* The next server's FETCH will be the first again. Called under tag->lock. */
static void ubd_forget_fetch(struct ubd_tag *tag)
{
	if (tag->fetched)
		atomic_inc(&tag->queue->dev->nr_unfetched);
	tag->fetched = false;
}

/* The tag has a FETCH without a request. */
static bool ubd_fetch_waits(const struct ubd_tag *tag)
{
	return tag->armed && (tag->state == UBD_TAG_READY || tag->state == UBD_TAG_HELD);
}

static struct io_uring_cmd *ubd_take_fetch(struct ubd_tag *tag)
{
	struct io_uring_cmd *cmd = ubd_disarm(tag);

	if (tag->state == UBD_TAG_READY)
		tag->state = UBD_TAG_IDLE;
	return cmd;
}

static bool ubd_detach_tag(struct ubd_tag *tag)
{
	struct io_uring_cmd *cmd = NULL;
	struct request *rq = NULL;

	spin_lock(&tag->lock);
	ubd_forget_fetch(tag);
	switch (tag->state) {
	case UBD_TAG_READY:
		cmd = ubd_take_fetch(tag);
		break;
	case UBD_TAG_HELD:
		cmd = ubd_take_fetch(tag);
		if (tag->keep)
			ubd_settle_lost(tag);
		break;
	case UBD_TAG_QUEUED:
	case UBD_TAG_HANDOVER:
	case UBD_TAG_SERVED:
		/* A command in HANDOVER is left to its task work, which finds the tag taken. */
		ubd_disarm(tag);
		rq = ubd_settle_lost(tag);
		break;
	case UBD_TAG_IDLE:
	case UBD_TAG_MOVING:
	case UBD_TAG_COMMITTING:
		break;
	}
	spin_unlock(&tag->lock);

	if (rq)
		ubd_end_request(rq, BLK_STS_IOERR);
	if (cmd)
		ubd_abort_fetch(cmd);
	return false;
}

void ubd_detach_tags(struct ubd_device *dev)
{
	ubd_any_tag(dev, ubd_detach_tag);
	ubd_kick_all(dev);
}

static bool ubd_drain_tag(struct ubd_tag *tag)
{
	struct io_uring_cmd *cmd = NULL;

	spin_lock(&tag->lock);
	if (ubd_fetch_waits(tag))
		cmd = ubd_take_fetch(tag);
	spin_unlock(&tag->lock);

	if (cmd)
		ubd_abort_fetch(cmd);
	return false;
}

void ubd_drain_tags(struct ubd_device *dev)
{
	ubd_any_tag(dev, ubd_drain_tag);
	ubd_kick_all(dev);
}

void ubd_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_tag *tag = ubd_cmd(cmd)->tag;
	bool waits;

	spin_lock(&tag->lock);
	waits = tag->cmd == cmd && ubd_fetch_waits(tag);
	if (waits)
		ubd_take_fetch(tag);
	spin_unlock(&tag->lock);

	ubd_server_gone(tag->queue->dev);
	if (waits)
		ubd_cmd_done(cmd, UBD_IO_RES_ABORT, issue_flags);
}

/* ---- looking for lost ones ---- */

/*
 * Looks at FETCHes with a request too: on a ring whose task work only one thread may run, nobody
 * runs it once that thread has ended.
 */
static bool ubd_tag_is_orphan(struct ubd_tag *tag)
{
	bool orphan;

	spin_lock(&tag->lock);
	orphan = tag->cmd && ubd_cmd_is_orphan(tag->cmd);
	spin_unlock(&tag->lock);
	return orphan;
}

/*
 * How many tags a frequent check looks at: those that have not been looked at for the longest time.
 */
#define UBD_ORPHANS_AT_ONCE 1024

bool ubd_has_orphans(struct ubd_device *dev, bool everywhere)
{
	unsigned int nr = dev->tag_set.nr_hw_queues * dev->tag_set.queue_depth;
	unsigned int first = READ_ONCE(dev->next_orphan);
	unsigned int left = everywhere ? nr : min_t(unsigned int, nr, UBD_ORPHANS_AT_ONCE);

	for (unsigned int i = first; left; left--, i = (i + 1) % nr) {
		if (ubd_tag_is_orphan(ubd_nth_tag(dev, i)))
			return true;
		if (left % UBD_ORPHANS_AT_ONCE == 0)
			cond_resched();
	}
	WRITE_ONCE(dev->next_orphan, (first + UBD_ORPHANS_AT_ONCE) % nr);
	return ubd_has_orphan_batch(dev);
}

/* Whether this server must act for the tag's request to proceed. Under tag->lock. */
static bool ubd_is_servers_turn(const struct ubd_tag *tag)
{
	if (!tag->rq || ubd_has_lost_server(tag))
		return false;
	/* It is held up by what the last server left behind. */
	if (tag->state == UBD_TAG_HELD && tag->keep)
		return false;
	/*
	 * It lacks a FETCH: not the server's fault if it has not got that far, or may not send one.
	 */
	if (tag->state == UBD_TAG_QUEUED)
		return tag->fetched && !ubd_tag_flag(tag, UBD_DRAINING);
	return true;
}

static unsigned int ubd_request_timeout(const struct ubd_device *dev)
{
	unsigned int seconds = dev->params.request_timeout ?: READ_ONCE(request_timeout);

	return ubd_limit_timeout(dev, seconds == UBD_NO_REQUEST_TIMEOUT ? 0 : seconds);
}

struct ubd_lateness {
	unsigned int seconds;
	bool warns; /* log only, do nothing else */
	bool found;
};

/* Warns once for each silence, which begins with the last answer. */
static void ubd_warn_of_silence(struct ubd_queue *q, unsigned int seconds)
{
	unsigned long answered = READ_ONCE(q->answered);

	if (xchg(&q->told, answered) != answered)
		dev_warn(&q->dev->device, "queue %td: no answer from the server for %u seconds\n",
			 q - q->dev->queues, seconds);
}

/*
 * A queue that has had an answer in the meantime is not late: its storage may be slow and the queue
 * deep. But that would let an unprivileged server keep one request forever. Under tag->lock.
 */
static bool ubd_is_late(const struct ubd_tag *tag, unsigned int seconds)
{
	unsigned long since = tag->since, answered = READ_ONCE(tag->queue->answered);

	if (!tag->queue->dev->user && time_after(answered, since))
		since = answered;
	return ubd_is_servers_turn(tag) && ubd_is_late_since(since, (unsigned long)seconds * HZ);
}

static bool ubd_request_is_in_time(struct request *rq, void *data)
{
	struct ubd_tag *tag = ubd_request_tag(rq);
	struct ubd_lateness *late = data;
	bool is_late;

	spin_lock(&tag->lock);
	is_late = ubd_is_late(tag, late->seconds);
	spin_unlock(&tag->lock);

	if (is_late && late->warns)
		ubd_warn_of_silence(tag->queue, late->seconds);
	else if (is_late)
		late->found = true;
	/* blk-mq goes on with the next queue whatever is returned. */
	return !late->found;
}

bool ubd_has_overdue(struct ubd_device *dev)
{
	struct ubd_lateness late = { .seconds = ubd_request_timeout(dev) };

	if (!late.seconds) {
		late.seconds = READ_ONCE(request_warning);
		late.warns = true;
	}
	if (late.seconds)
		blk_mq_tagset_busy_iter(&dev->tag_set, ubd_request_is_in_time, &late);
	return late.found;
}

/* ---- memory ---- */

size_t ubd_descs_size(const struct ubd_device *dev)
{
	return PAGE_ALIGN(dev->tag_set.queue_depth * sizeof(struct ubdsrv_io_desc));
}

static int ubd_queue_alloc(struct ubd_device *dev, struct ubd_queue *q)
{
	unsigned int depth = dev->tag_set.queue_depth;

	q->dev = dev;
	spin_lock_init(&q->lock);
	q->answered = jiffies;
	q->told = q->answered - 1;
	q->descs = vmalloc_user(ubd_descs_size(dev));
	q->tags = kvcalloc(depth, sizeof(*q->tags), GFP_KERNEL_ACCOUNT);
	q->pending = bitmap_zalloc(depth, GFP_KERNEL_ACCOUNT);
	if (!q->descs || !q->tags || !q->pending)
		return -ENOMEM;

	for (unsigned int i = 0; i < depth; i++) {
		spin_lock_init(&q->tags[i].lock);
		q->tags[i].queue = q;
	}
	return 0;
}

/* The caller calls ubd_queues_free() even on failure. */
int ubd_queues_alloc(struct ubd_device *dev)
{
	unsigned int nr = dev->tag_set.nr_hw_queues;
	int err = 0;

	BUILD_BUG_ON(UBD_DESC_MMAP_STRIDE % PAGE_SIZE);

	dev->queues = kcalloc(nr, sizeof(*dev->queues), GFP_KERNEL_ACCOUNT);
	if (!dev->queues)
		return -ENOMEM;
	for (unsigned int i = 0; i < nr && !err; i++)
		err = ubd_queue_alloc(dev, &dev->queues[i]);
	atomic_set(&dev->nr_unfetched, nr * dev->tag_set.queue_depth);
	return err;
}

void ubd_queues_free(struct ubd_device *dev)
{
	if (!dev->queues)
		return;
	for (unsigned int i = 0; i < dev->tag_set.nr_hw_queues; i++) {
		vfree(dev->queues[i].descs);
		kvfree(dev->queues[i].tags);
		bitmap_free(dev->queues[i].pending);
	}
	kfree(dev->queues);
}
