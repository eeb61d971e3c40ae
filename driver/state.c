// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of a device, what its life work is asked to do, and waiting for either. What the life
 * work does is in device.c. This file is what all others need of it, so nothing in it calls back.
 */
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "ubd.h"

/*
 * The life work may wait for a server (R5: for its own server only, since each device has its own
 * work). What detects that the server is dead must not queue up behind it.
 */
static struct workqueue_struct *ubd_life_wq;
struct workqueue_struct *ubd_check_wq;

void ubd_queue_work(struct ubd_device *dev, struct workqueue_struct *wq, struct work_struct *work)
{
	ubd_device_get(dev);
	if (!queue_work(wq, work))
		ubd_device_put(dev);
}

bool ubd_is_ending(const struct ubd_device *dev)
{
	return dev->asked & (UBD_ASK_STOP | UBD_ASK_DELETE);
}

void ubd_note_change(struct ubd_device *dev)
{
	WRITE_ONCE(dev->nr_changes, dev->nr_changes + 1);
	wake_up_all(&dev->wait);
}

void ubd_set_state(struct ubd_device *dev, u16 state)
{
	bool recovered = dev->state == UBD_S_DEV_RECOVERING && state == UBD_S_DEV_LIVE;

	if (dev->state == state)
		return;
	dev->state = state;
	ubd_note_change(dev);
	if (state == UBD_S_DEV_QUIESCED || recovered)
		ubd_ask(dev, UBD_ASK_TELL);
}

void ubd_ask(struct ubd_device *dev, unsigned int what)
{
	bool was_ending = ubd_is_ending(dev);

	dev->asked |= what;
	/*
	 * When the last control file was closed, the device may have been left alone because it
	 * would outlive its server. Now it does not, and nobody is left to ask for the rest.
	 */
	if ((dev->asked & UBD_ASK_STOP) && dev->added && !dev->nr_control)
		dev->asked |= UBD_ASK_DELETE;
	if (ubd_is_ending(dev) && !was_ending)
		ubd_note_change(dev);
	ubd_queue_work(dev, ubd_life_wq, &dev->life_work);
}

void ubd_device_ask(struct ubd_device *dev, unsigned int what)
{
	spin_lock(&dev->lock);
	ubd_ask(dev, what);
	spin_unlock(&dev->lock);
	wake_up_all(&dev->wait);
}

/*
 * Control commands wait in a worker thread of io_uring. Killable, not interruptible: a signal that
 * stops the process for a while would end an interruptible wait there.
 */
int ubd_wait(struct ubd_device *dev, int (*try)(struct ubd_device *dev))
{
	int err, res;

	err = wait_event_killable(dev->wait, (res = try(dev)) != -EAGAIN);
	return err ? -EINTR : res;
}

int ubd_work_init(void)
{
	/* Reclaiming memory may depend on this work, as it ends the requests of a dead server. */
	ubd_check_wq = alloc_workqueue("ubd-check", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ubd_check_wq)
		return -ENOMEM;
	ubd_life_wq = alloc_workqueue("ubd-life", WQ_UNBOUND, 0);
	if (!ubd_life_wq) {
		destroy_workqueue(ubd_check_wq);
		return -ENOMEM;
	}
	return 0;
}

void ubd_work_exit(void)
{
	destroy_workqueue(ubd_life_wq);
	destroy_workqueue(ubd_check_wq);
}
