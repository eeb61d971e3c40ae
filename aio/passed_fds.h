/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Passing descriptors between processes: with a message over a UNIX socket, or by exec(), as
 * systemd does (sd_listen_fds(3)). Any thread, except for functions that use the environment.
 */
#ifndef UBD_PASSED_FDS_H
#define UBD_PASSED_FDS_H

#include <stdbool.h>
#include <sys/socket.h>

/* The maximum number of descriptors per message. */
#define PASSED_FDS_MAX	     2
/* The first descriptor that exec() passes on; the others follow it. */
#define PASSED_FDS_INHERITED 3

/* Space for the descriptors of a message. */
union passed_fds {
	struct cmsghdr header;
	char space[CMSG_SPACE(PASSED_FDS_MAX * sizeof(int))];
};

/* Adds @nr descriptors, 1 to PASSED_FDS_MAX, to @msg, using @room. */
void passed_fds_put(struct msghdr *msg, union passed_fds *room, const int *fds, unsigned nr);

/*
 * Takes the descriptors of a received message, at most PASSED_FDS_MAX, which the caller closes.
 * Returns their number.
 */
unsigned passed_fds_take(struct msghdr *msg, int *ret_fds);

/*
 * Finds the descriptors that exec() has passed on. Returns their number and their names, which the
 * caller frees with g_strfreev(). There may be fewer or more names.
 */
unsigned passed_fds_inherited(char ***ret_names);

/* Whether they were passed on to this process, and not to an ancestor. */
bool passed_fds_are_ours(void);

/* Tells programs that this process starts, or becomes, about @nr descriptors with these names. */
void passed_fds_announce(unsigned nr, const char *names);

/* Keeps processes that this process starts from taking them for their own. */
void passed_fds_forget(void);

#endif
