// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time during which the system goes to sleep, sleeps or wakes up. No server can do anything then,
 * so this time counts towards none of our limits.
 *
 * Only the freezing of all tasks counts. Whoever stops or freezes a server in another way, by a
 * signal or a cgroup, is responsible for what waits for it. And while file systems are synced
 * before tasks are frozen, a server that does not answer must not hold that up.
 */
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/pid_namespace.h>
#include <linux/suspend.h>

#include "ubd.h"

/*
 * The notifier says only that tasks are about to be frozen or have been thawed. So we look, about
 * once a second while there are requests. If we have not looked for this many jiffies, because
 * tasks are frozen and the only CPU is busy with devices, this may be the first look after the
 * thaw.
 */
#define UBD_LONG_GAP (3 * HZ)

static bool ubd_suspending;	      /* between the two notifications */
static unsigned long ubd_last_look;   /* jiffies */
static unsigned long ubd_last_frozen; /* jiffies: tasks may have been frozen until then */

/*
 * Looks at init, which cgroups do not freeze; for other tasks a cgroup's freeze looks like a
 * suspend.
 */
static bool ubd_are_tasks_frozen(void)
{
	struct task_struct *task;
	bool frozen;

	rcu_read_lock();
	task = pid_task(find_pid_ns(1, &init_pid_ns), PIDTYPE_PID);
	frozen = task && freezing(task);
	rcu_read_unlock();
	return frozen;
}

static void ubd_look(unsigned long now)
{
	bool gap = READ_ONCE(ubd_suspending) &&
		   time_after(now, READ_ONCE(ubd_last_look) + UBD_LONG_GAP);

	if (gap || ubd_are_tasks_frozen())
		WRITE_ONCE(ubd_last_frozen, now);
	WRITE_ONCE(ubd_last_look, now);
}

bool ubd_was_frozen_since(unsigned long since)
{
	unsigned long now = jiffies;

	ubd_look(now);
	return time_in_range(READ_ONCE(ubd_last_frozen), since, now);
}

bool ubd_is_late_since(unsigned long since, unsigned long limit)
{
	unsigned long now = jiffies, frozen;

	ubd_look(now);
	frozen = READ_ONCE(ubd_last_frozen);
	return time_after_eq(now, (time_in_range(frozen, since, now) ? frozen : since) + limit);
}

static int ubd_notice_suspend(struct notifier_block *notifier, unsigned long event, void *data)
{
	bool begins = event == PM_SUSPEND_PREPARE || event == PM_HIBERNATION_PREPARE ||
		      event == PM_RESTORE_PREPARE;

	WRITE_ONCE(ubd_last_frozen, jiffies);
	WRITE_ONCE(ubd_suspending, begins);
	return NOTIFY_DONE;
}

static struct notifier_block ubd_suspend_notifier = {
	.notifier_call = ubd_notice_suspend,
};

int ubd_suspend_init(void)
{
	ubd_last_frozen = jiffies;
	return register_pm_notifier(&ubd_suspend_notifier);
}

void ubd_suspend_exit(void)
{
	unregister_pm_notifier(&ubd_suspend_notifier);
}
