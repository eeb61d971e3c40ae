// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices whose server has died; see nbd_orphan.h. */
#include "nbd_orphan.h"

#include <glib.h>
#include <signal.h>
#include <unistd.h>

#include "nbd_description.h"
#include "nbd_disk.h"
#include "nbd_server_file.h"
#include "nbd_sysfs.h"

#define END_US	     (5 * G_USEC_PER_SEC)
#define END_STEP_US  20000
#define WAIT_STEP_US 100000

void nbd_orphan_disconnect(struct nbd_netlink *nl, uint32_t id, bool recoverable)
{
	struct nbd_description description;
	int fd;

	if (!nbd_description_read(id, &description) || (description.info.recovery && !recoverable))
		return;
	/* Otherwise the caller knows that it has gone. */
	if (!recoverable && nbd_may_have_process(id))
		return;
	fd = nbd_server_file_take(id, NULL);
	if (fd < 0)
		return;
	/* Again: now no server of ours can begin. */
	if (nbd_description_read(id, &description) && (!description.info.recovery || recoverable))
		nbd_disk_end(nl, id, false);
	nbd_server_file_close(fd);
}

/* The end of a process closes its files one after another. */
static void wait_for_end(uint32_t id)
{
	for (unsigned us = 0; us < END_US && nbd_server_pid(id) != -1; us += END_STEP_US)
		g_usleep(END_STEP_US);
}

/* The service manager that started the server ends this process, too, and may start the next. */
static bool is_told_to_end(void)
{
	sigset_t set;

	return sigpending(&set) == 0 &&
	       (sigismember(&set, SIGTERM) || sigismember(&set, TRANSPORT_LEAVE_SIGNAL));
}

static bool has_waited_in_vain(uint32_t id, const struct transport_info *info)
{
	uint32_t timeout = info->recovery_timeout;

	return timeout && nbd_server_file_waited(id) >= timeout;
}

bool nbd_orphan_is_overdue(uint32_t id)
{
	struct nbd_description description;

	return nbd_description_read(id, &description) && description.info.recovery &&
	       has_waited_in_vain(id, &description.info) && nbd_server_pid(id) == -1;
}

/* Whether the device has waited in vain. */
static bool wait_for_next(uint32_t id, const struct transport_info *info)
{
	gint64 end = g_get_monotonic_time() + info->recovery_timeout * G_USEC_PER_SEC;
	struct nbd_description description;

	while (info->recovery_timeout && nbd_server_pid(id) == -1 &&
	       nbd_description_read(id, &description)) {
		if (has_waited_in_vain(id, info) || g_get_monotonic_time() >= end)
			return true;
		if (is_told_to_end())
			break;
		g_usleep(WAIT_STEP_US);
	}
	return false;
}

void nbd_orphan_end(struct nbd_netlink *nl, uint32_t id, bool was_live)
{
	struct nbd_description description;

	wait_for_end(id);
	if (!nbd_description_read(id, &description) || nbd_server_file_has_ended(id))
		return;
	if (nbd_server_pid(id) == -1 && (was_live || nbd_server_file_waited(id) < 0))
		nbd_server_file_wait(id);
	if (!description.info.recovery || wait_for_next(id, &description.info))
		nbd_orphan_disconnect(nl, id, true);
}
