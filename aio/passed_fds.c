// SPDX-License-Identifier: GPL-2.0-or-later
/* Descriptors from process to process; see passed_fds.h. */
#include "passed_fds.h"

#include <assert.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- over a socket ---- */

void passed_fds_put(struct msghdr *msg, union passed_fds *room, const int *fds, unsigned nr)
{
	assert(nr && nr <= PASSED_FDS_MAX);
	*room = (union passed_fds){ .header = {
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS,
					    .cmsg_len = CMSG_LEN(nr * sizeof(int)),
				    } };
	memcpy(CMSG_DATA(&room->header), fds, nr * sizeof(int));
	msg->msg_control = room;
	msg->msg_controllen = CMSG_SPACE(nr * sizeof(int));
}

unsigned passed_fds_take(struct msghdr *msg, int *ret_fds)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(msg);
	unsigned nr;

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return 0;
	nr = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(ret_fds, CMSG_DATA(header), nr * sizeof(int));
	return nr;
}

/* ---- by exec() ---- */

unsigned passed_fds_inherited(char ***ret_names)
{
	const char *nr = g_getenv("LISTEN_FDS"), *names = g_getenv("LISTEN_FDNAMES");

	*ret_names = g_strsplit(names ?: "", ":", -1);
	return nr ? MAX(atoi(nr), 0) : 0;
}

bool passed_fds_are_ours(void)
{
	const char *pid = g_getenv("LISTEN_PID");

	return pid && atoi(pid) == getpid();
}

static void set_number(const char *name, int number)
{
	g_autofree char *text = g_strdup_printf("%d", number);

	g_setenv(name, text, TRUE);
}

void passed_fds_announce(unsigned nr, const char *names)
{
	set_number("LISTEN_FDS", nr);
	set_number("LISTEN_PID", getpid());
	g_setenv("LISTEN_FDNAMES", names, TRUE);
}

void passed_fds_forget(void)
{
	g_unsetenv("LISTEN_FDS");
	g_unsetenv("LISTEN_PID");
	g_unsetenv("LISTEN_FDNAMES");
}
