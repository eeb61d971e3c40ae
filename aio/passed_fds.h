/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors from process to process: with a message over a UNIX socket, or by exec(), as systemd
 * passes them on (sd_listen_fds(3)). Any thread, but for the environment.
 */
#ifndef UBD_PASSED_FDS_H
#define UBD_PASSED_FDS_H

#include <stdbool.h>
#include <sys/socket.h>

/* The most that one message can have here. */
#define PASSED_FDS_MAX	     2
/* The first one that exec() passes on; the others follow it. */
#define PASSED_FDS_INHERITED 3

/* Room for the descriptors beside a message. */
union passed_fds {
	struct cmsghdr header;
	char space[CMSG_SPACE(PASSED_FDS_MAX * sizeof(int))];
};

/* Has @msg pass on @nr descriptors, 1 to PASSED_FDS_MAX, in @room. */
void passed_fds_put(struct msghdr *msg, union passed_fds *room, const int *fds, unsigned nr);

/*
 * Takes the descriptors of a message that was received, at most PASSED_FDS_MAX, which the caller
 * closes. How many there are.
 */
unsigned passed_fds_take(struct msghdr *msg, int *ret_fds);

/*
 * Finds what exec() has passed on: how many descriptors there are, and their names, which the
 * caller frees with g_strfreev(). There may be fewer names, or more.
 */
unsigned passed_fds_inherited(char ***ret_names);

/* Whether they were passed on to this very process, and not to one before it. */
bool passed_fds_are_ours(void);

/* Tells programs that this process starts, or becomes, about @nr descriptors with these names. */
void passed_fds_announce(unsigned nr, const char *names);

/* What this process starts will not take them for its own. */
void passed_fds_forget(void);

#endif
