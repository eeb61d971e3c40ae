/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connects the kernel to the queues of a server, with a socket pair for each queue, one end of
 * which goes to nbd.ko.
 *
 * Connecting may have to wait for others and for the kernel, so it is done in steps, none of which
 * waits. All steps must be called by one thread, which must live as long as the server: the kernel
 * shows it as the process that has connected the device (nbd_may_have_process()).
 */
#ifndef UBD_NBD_ATTACH_H
#define UBD_NBD_ATTACH_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "nbd_description.h"
#include "nbd_netlink.h"

/* The caller sets the first three, which it owns. */
struct nbd_attach {
	struct nbd_netlink *netlink;
	const struct nbd_description *description;
	uint32_t id;
	int *ours, *theirs; /* the sockets of each queue; -1: already closed; NULL: none yet */

	/* The kernel has them, and must begin to read; as of nbd_connection(). 0: not yet. */
	uint64_t connection;

	/* Private to nbd_attach.c: how far the kernel has got with them. */
	unsigned connects; /* so far */
	gint64 next, end;  /* when to try again, and until when to go on; 0: not yet known */
};

/* Needs privileges for large socket buffers. 0 or -errno. */
int nbd_attach_make_sockets(struct nbd_attach *attach);

/*
 * Performs a step of connecting the kernel; @again: the device is taken over. When it returns 0,
 * the queues may use @attach->ours. -EAGAIN: there is another step; other errors are final.
 */
int nbd_attach_step(struct nbd_attach *attach, bool again);

/* Closes the remaining sockets, and frees the arrays. */
void nbd_attach_end(struct nbd_attach *attach);

/* In seconds; 0: none. */
static inline unsigned nbd_request_timeout(uint32_t wanted)
{
	return wanted == TRANSPORT_NO_TIMEOUT ? 0 : wanted;
}

#endif
