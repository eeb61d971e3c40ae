// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices of users without CAP_SYS_ADMIN (R4): who may have how many, and how such devices are
 * restricted. docs/security.md has the reasons, threat by threat.
 *
 * Devices are counted per user who is answerable for the task, see ubd_whose(). In a user namespace
 * uids cost nothing, so counting by uid would not limit anybody.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "ubd.h"

static bool unprivileged;
module_param(unprivileged, bool, 0644);
MODULE_PARM_DESC(unprivileged, "Let users without CAP_SYS_ADMIN add devices if they can open "
			       "/dev/ubd-control (default N)");

static unsigned int unprivileged_per_user = 4;
module_param(unprivileged_per_user, uint, 0644);
MODULE_PARM_DESC(unprivileged_per_user, "Maximum number of devices of such a user (default 4)");

static unsigned int unprivileged_total = 64;
module_param(unprivileged_total, uint, 0644);
MODULE_PARM_DESC(unprivileged_total, "Maximum number of devices of all such users (default 64)");

/* Because anybody who touches such a disk, root included, can be made to wait that long. */
static unsigned int unprivileged_timeout = 30;
module_param(unprivileged_timeout, uint, 0644);
MODULE_PARM_DESC(unprivileged_timeout,
		 "Upper limit of request_timeout for the devices of such users (default 30)");

/* So the longest sync() is the time to write the disk's dirty pages at this rate. */
static unsigned int unprivileged_min_rate = 1024;
module_param(unprivileged_min_rate, uint, 0644);
MODULE_PARM_DESC(unprivileged_min_rate,
		 "KiB/s that the server of such a device must write while it has writes; "
		 "0 for no minimum (default 1024)");

/* A write counts as at least this many bytes, because seeks take time too. */
#define UBD_MIN_COUNTED		    SZ_32K

/*
 * Lower numbers are reserved for the administrator, who may expect a certain disk at one of them.
 */
#define UBD_UNPRIVILEGED_MIN_ID	    2048

#define UBD_UNPRIVILEGED_MAX_QUEUES 4
#define UBD_UNPRIVILEGED_MAX_DEPTH  128
#define UBD_UNPRIVILEGED_MAX_BYTES  SZ_1M

/*
 * The time between two devices that a user adds or resizes, which udev is told about. A user whose
 * last device is gone is forgotten, so even the first event must wait that long.
 */
#define UBD_EVENT_INTERVAL	    (HZ / 4)

struct ubd_user {
	struct list_head list;
	struct user_namespace *ns; /* this is the user; or NULL: uid is */
	kuid_t uid;
	unsigned int nr_devices;
	unsigned long next_event; /* jiffies: no event before */
};

static DEFINE_SPINLOCK(ubd_users_lock);
static LIST_HEAD(ubd_users); /* those who have devices */
static unsigned int ubd_nr_unprivileged;

u64 ubd_features(void)
{
	return UBD_FLAGS_KNOWN | (READ_ONCE(unprivileged) ? UBD_F_UNPRIVILEGED : 0);
}

/* ---- counting ---- */

/*
 * In the initial user namespace a user is a uid. Elsewhere it is the creator of the outermost of
 * the task's namespaces, whichever of the uids delegated to that user the task takes. Root creates
 * namespaces for others: there each namespace is a user.
 */
static void ubd_whose(struct ubd_user *user)
{
	struct user_namespace *ns = current_user_ns();

	user->uid = current_euid();
	for (; ns != &init_user_ns; ns = ns->parent) {
		user->uid = ns->owner;
		user->ns = ns;
	}
	if (user->ns && uid_eq(user->uid, GLOBAL_ROOT_UID))
		get_user_ns(user->ns);
	else
		user->ns = NULL;
}

static void ubd_user_free(struct ubd_user *user)
{
	if (user->ns)
		put_user_ns(user->ns);
	kfree(user);
}

/* Under ubd_users_lock. */
static struct ubd_user *ubd_user_find(const struct ubd_user *like)
{
	struct ubd_user *user;

	list_for_each_entry(user, &ubd_users, list)
		if (user->ns == like->ns && (user->ns || uid_eq(user->uid, like->uid)))
			return user;
	return NULL;
}

/*
 * Counts one more device for @fresh, or for the known user that it equals. NULL: the limit is
 * reached.
 */
static struct ubd_user *ubd_user_count(struct ubd_user *fresh)
{
	struct ubd_user *user;

	spin_lock(&ubd_users_lock);
	user = ubd_user_find(fresh) ?: fresh;
	if (user->nr_devices >= READ_ONCE(unprivileged_per_user) ||
	    ubd_nr_unprivileged >= READ_ONCE(unprivileged_total)) {
		user = NULL;
	} else {
		ubd_nr_unprivileged++;
		if (!user->nr_devices++) {
			user->next_event = jiffies + UBD_EVENT_INTERVAL;
			list_add(&user->list, &ubd_users);
		}
	}
	spin_unlock(&ubd_users_lock);
	return user;
}

int ubd_charge(struct ubd_device *dev)
{
	struct ubd_user *fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);

	if (!fresh)
		return -ENOMEM;
	ubd_whose(fresh);
	dev->user = ubd_user_count(fresh);
	if (dev->user != fresh)
		ubd_user_free(fresh);
	if (!dev->user)
		return -EDQUOT;
	dev->features |= UBD_F_UNPRIVILEGED;
	return 0;
}

void ubd_uncharge(struct ubd_device *dev)
{
	struct ubd_user *user = dev->user;
	bool last;

	if (!user)
		return;
	spin_lock(&ubd_users_lock);
	ubd_nr_unprivileged--;
	last = !--user->nr_devices;
	if (last)
		list_del(&user->list);
	spin_unlock(&ubd_users_lock);
	if (last)
		ubd_user_free(user);
}

/* ---- what such a device is not ---- */

int ubd_restrict_info(struct ubdsrv_ctrl_dev_info *info)
{
	if (!READ_ONCE(unprivileged))
		return -EPERM;
	/* It does not outlive its holders, and is never scanned for partitions anyway. */
	if ((info->flags & ~UBD_F_NO_AUTO_PART_SCAN) || info->dev_id < UBD_UNPRIVILEGED_MIN_ID)
		return -EPERM;
	info->nr_hw_queues = min_t(u16, info->nr_hw_queues, UBD_UNPRIVILEGED_MAX_QUEUES);
	info->queue_depth = min_t(u16, info->queue_depth, UBD_UNPRIVILEGED_MAX_DEPTH);
	info->max_io_bytes = min_t(u32, info->max_io_bytes, UBD_UNPRIVILEGED_MAX_BYTES);
	return 0;
}

u32 ubd_min_id(const struct ubd_device *dev)
{
	return dev->user ? UBD_UNPRIVILEGED_MIN_ID : 0;
}

void ubd_restrict_disk(const struct ubd_device *dev, struct gendisk *disk)
{
	/* The kernel must not parse its content. */
	if (ubd_is_content_foreign(dev))
		disk->flags |= GENHD_FL_NO_PART;
	if (!dev->user)
		return;
	/* It may have few dirty pages, and these do not count against other disks. */
	disk->bdi->capabilities |= BDI_CAP_STRICTLIMIT;
	bdi_set_max_ratio(disk->bdi, 1);
}

bool ubd_may_open_disk(const struct ubd_device *dev)
{
	return !dev->user || uid_eq(current_euid(), dev->owner_uid) || capable(CAP_SYS_ADMIN);
}

unsigned int ubd_limit_timeout(const struct ubd_device *dev, unsigned int seconds)
{
	return dev->user ? min_not_zero(seconds, READ_ONCE(unprivileged_timeout)) : seconds;
}

/*
 * Returns how long the user must wait before causing an event; if not at all, the event is counted.
 */
static long ubd_event_delay(struct ubd_user *user)
{
	long delay;

	spin_lock(&ubd_users_lock);
	delay = user->next_event - jiffies;
	if (delay <= 0)
		user->next_event = jiffies + UBD_EVENT_INTERVAL;
	spin_unlock(&ubd_users_lock);
	return delay;
}

/* A task that is killed has caused no event, and takes nothing from those that wait beside it. */
int ubd_pace(const struct ubd_device *dev)
{
	long delay;

	while (dev->user && (delay = ubd_event_delay(dev->user)) > 0) {
		if (fatal_signal_pending(current))
			return -EINTR;
		schedule_timeout_killable(delay);
	}
	return 0;
}

/* ---- how slow it may be ---- */

/*
 * A system-wide sync() waits for the dirty pages of every disk. A server that answers each write
 * just in time could make that last for hours, so it must write at a minimum rate during the time
 * in which it has writes. Reads and flushes concern only those who chose to use the disk. A write
 * during which the system was suspended is not timed.
 */
static bool ubd_is_paced(const struct ubd_device *dev, const struct request *rq)
{
	return dev->user && req_op(rq) == REQ_OP_WRITE;
}

void ubd_rate_begin(struct ubd_device *dev, const struct request *rq)
{
	struct ubd_rate *rate = &dev->rate;

	if (!ubd_is_paced(dev, rq))
		return;
	spin_lock(&rate->lock);
	if (!rate->in_flight++)
		rate->counted_ns = ktime_get_ns();
	spin_unlock(&rate->lock);
}

/* The window is over and too little was written in it. Under rate->lock. */
static bool ubd_is_below_rate(const struct ubd_rate *rate)
{
	u64 wanted_kib = READ_ONCE(unprivileged_min_rate) * div_u64(rate->busy_ns, NSEC_PER_SEC);

	return rate->written_bytes >> 10 < wanted_kib;
}

void ubd_rate_end(struct ubd_device *dev, const struct request *rq)
{
	struct ubd_rate *rate = &dev->rate;
	u64 now = ktime_get_ns(), window = (u64)READ_ONCE(unprivileged_timeout) * NSEC_PER_SEC;
	bool slow = false;

	if (!ubd_is_paced(dev, rq))
		return;
	spin_lock(&rate->lock);
	if (!ubd_was_frozen_since(jiffies - nsecs_to_jiffies(now - rate->counted_ns)))
		rate->busy_ns += now - rate->counted_ns;
	rate->counted_ns = now;
	rate->in_flight--;
	rate->written_bytes += max_t(u32, blk_rq_bytes(rq), UBD_MIN_COUNTED);
	if (window && rate->busy_ns >= window) {
		slow = ubd_is_below_rate(rate);
		rate->busy_ns = 0;
		rate->written_bytes = 0;
	}
	spin_unlock(&rate->lock);
	if (!slow)
		return;
	WRITE_ONCE(rate->too_slow, true);
	ubd_queue_work(dev, ubd_check_wq, &dev->check_work);
}
