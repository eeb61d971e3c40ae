// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a server goes away and another one takes over.
 *
 * A device that outlives its server becomes QUIESCED: no command is accepted, and requests wait on
 * their tags or fail, depending on the device's flags. START_RECOVERY waits until nothing of the
 * old server is left (its file of ubdcN has been released, so all its commands have ended), and
 * then allows ubdcN to be opened once more. The new server's FETCH of a tag takes the request that
 * waits there, as a first FETCH does for START_DEV.
 *
 * QUIESCE does the same without haste: FETCHes end, and the server may still commit the requests
 * that it has, so that it can close its image cleanly before it leaves.
 *
 * Either begins a wait with a deadline, if the device has one, and only END_RECOVERY ends that
 * wait. Nothing in between extends it: neither a server that does not leave nor one that dies while
 * it recovers.
 *
 * In a circle with tag.c, see ubd.h.
 */
#include "compat.h"
#include "trace.h"
#include "ubd.h"

void ubd_device_abort(struct ubd_device *dev)
{
	if (test_and_set_bit(UBD_ABORTED, &dev->flags))
		return;
	trace_ubd_abort(dev);
	ubd_detach_tags(dev);
	ubd_device_ask(dev, UBD_ASK_STOP);
}

/* ---- the deadline ---- */

static unsigned long ubd_wait_limit(const struct ubd_device *dev)
{
	return (unsigned long)dev->recovery_timeout * HZ;
}

/* Under dev->lock, when a LIVE device loses its server. */
static void ubd_begin_wait(struct ubd_device *dev)
{
	unsigned long limit = ubd_wait_limit(dev);

	if (!limit)
		return;
	dev->waits_since = jiffies;
	mod_delayed_work(ubd_check_wq, &dev->deadline_work, limit);
}

static bool ubd_waits(const struct ubd_device *dev)
{
	return (dev->state != UBD_S_DEV_LIVE || test_bit(UBD_AWAY, &dev->flags)) &&
	       !ubd_is_ending(dev);
}

/*
 * This may run for a wait that has just ended, when the next one has already begun and queued the
 * work again. Holds no reference: ubd_delete() cancels it.
 */
static void ubd_deadline_work(struct work_struct *work)
{
	struct ubd_device *dev =
		container_of(to_delayed_work(work), struct ubd_device, deadline_work);
	unsigned long limit = ubd_wait_limit(dev);
	bool late = false;

	spin_lock(&dev->lock);
	if (ubd_waits(dev)) {
		late = ubd_is_late_since(dev->waits_since, limit);
		/* From here on no server can take over. */
		if (late)
			ubd_ask(dev, UBD_ASK_STOP);
		else
			queue_delayed_work(ubd_check_wq, &dev->deadline_work, limit);
	}
	spin_unlock(&dev->lock);
	if (!late)
		return;
	dev_warn(&dev->device, "no server for %u seconds: ending the device\n",
		 dev->recovery_timeout);
	ubd_device_abort(dev);
}

void ubd_recovery_init(struct ubd_device *dev)
{
	INIT_DELAYED_WORK(&dev->deadline_work, ubd_deadline_work);
}

/* ---- when the server goes ---- */

bool ubd_outlives_server(const struct ubd_device *dev)
{
	if (!ubd_recovers(dev) || ubd_is_ending(dev))
		return false;
	return dev->state == UBD_S_DEV_LIVE || dev->state == UBD_S_DEV_QUIESCED ||
	       dev->state == UBD_S_DEV_RECOVERING;
}

/*
 * Nothing of the last server is left: no command, and nobody who might still report it dead when
 * the next server is there. Under dev->lock.
 */
static bool ubd_has_left(const struct ubd_device *dev)
{
	return dev->detached && !dev->opener && !dev->nr_checks;
}

void ubd_server_gone(struct ubd_device *dev)
{
	bool outlives, first = false;

	/* From here on STOP_DEV does not count on the server, see ubd_stop(). */
	spin_lock(&dev->lock);
	outlives = ubd_outlives_server(dev);
	if (outlives) {
		if (dev->features & UBD_F_USER_RECOVERY_FAIL_IO)
			set_bit(UBD_FAILING, &dev->flags);
		first = !test_and_set_bit(UBD_AWAY, &dev->flags);
		if (first && dev->state == UBD_S_DEV_LIVE)
			ubd_begin_wait(dev);
	}
	spin_unlock(&dev->lock);

	if (!outlives)
		ubd_device_abort(dev);
	if (!first)
		return;

	trace_ubd_server_gone(dev);
	ubd_detach_tags(dev);
	spin_lock(&dev->lock);
	dev->detached = true;
	if (dev->state != UBD_S_DEV_STOPPED)
		ubd_set_state(dev, UBD_S_DEV_QUIESCED);
	spin_unlock(&dev->lock);
	wake_up_all(&dev->wait);
}

/* ---- commands ---- */

static int ubd_try_quiesce(struct ubd_device *dev, bool *ret_drain)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev)) {
		err = -ENODEV;
	} else if (!ubd_recovers(dev) || dev->state == UBD_S_DEV_ADDED) {
		err = -EINVAL;
	} else if (dev->state == UBD_S_DEV_RECOVERING) {
		err = -EBUSY;
	} else if (dev->state == UBD_S_DEV_LIVE) {
		/* If the server is already gone, the wait began then. */
		if (!test_bit(UBD_AWAY, &dev->flags))
			ubd_begin_wait(dev);
		ubd_set_state(dev, UBD_S_DEV_QUIESCED);
		set_bit(UBD_DRAINING, &dev->flags);
		*ret_drain = true;
	}
	spin_unlock(&dev->lock);
	return err;
}

/* -EAGAIN while the server that was told to leave is still there. */
static int ubd_try_left(struct ubd_device *dev)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev))
		err = -ENODEV;
	else if (dev->state == UBD_S_DEV_QUIESCED && !ubd_has_left(dev))
		err = -EAGAIN;
	spin_unlock(&dev->lock);
	return err;
}

int ubd_device_quiesce(struct ubd_device *dev)
{
	bool drain = false;
	int err;

	err = ubd_try_quiesce(dev, &drain);
	if (err)
		return err;
	/* This cannot be taken back: if we are killed, it goes on. */
	if (drain)
		ubd_drain_tags(dev);
	return ubd_wait(dev, ubd_try_left);
}

static int ubd_try_start_recovery(struct ubd_device *dev)
{
	bool served;
	int err = 0;

	spin_lock(&dev->lock);
	served =
		dev->state == UBD_S_DEV_LIVE || (dev->state == UBD_S_DEV_RECOVERING && dev->opener);
	if (ubd_is_ending(dev)) {
		err = -ENODEV;
	} else if (!ubd_recovers(dev) || dev->state == UBD_S_DEV_ADDED) {
		err = -EINVAL;
	} else if (served && !test_bit(UBD_AWAY, &dev->flags)) {
		err = -EBUSY;
	} else if (served || !ubd_has_left(dev)) {
		err = -EAGAIN;
	} else {
		ubd_set_state(dev, UBD_S_DEV_RECOVERING);
		dev->opened = false;
	}
	spin_unlock(&dev->lock);
	return err;
}

int ubd_device_start_recovery(struct ubd_device *dev)
{
	return ubd_wait(dev, ubd_try_start_recovery);
}

static int ubd_try_end_recovery(struct ubd_device *dev)
{
	int err = 0;

	spin_lock(&dev->lock);
	if (ubd_is_ending(dev)) {
		err = -ENODEV;
	} else if (dev->state != UBD_S_DEV_RECOVERING) {
		err = -EINVAL;
	} else if (test_bit(UBD_AWAY, &dev->flags) || atomic_read(&dev->nr_unfetched)) {
		/*
		 * Nobody has opened ubdcN yet, or its opener has gone again and the state is about
		 * to say so.
		 */
		err = -EAGAIN;
	} else {
		ubd_set_state(dev, UBD_S_DEV_LIVE);
		cancel_delayed_work(&dev->deadline_work);
		trace_ubd_recovered(dev);
		clear_bit(UBD_FAILING, &dev->flags);
	}
	spin_unlock(&dev->lock);
	return err;
}

int ubd_device_end_recovery(struct ubd_device *dev)
{
	return ubd_wait(dev, ubd_try_end_recovery);
}
