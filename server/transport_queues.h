/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The part of a kernel driver that the server needs in addition to control/transport.h: how the
 * requests of a queue arrive, and how their answers and data are sent back. The queue's thread does
 * all of this, since some drivers tie a queue to the thread that fetched its first request.
 *
 * The interface is independent of io_uring commands, because not every driver has them:
 *
 *   ubd       Passthrough commands on the server's file, one for each tag or one for many; the
 *             descriptors of the requests are mapped. All this is shared with drivers that differ
 *             only in how commands are encoded (struct fetch_wire).
 *   ublk      The mainline driver is one of them: its command numbers are those of ioctls, and
 *             buffers that are registered automatically are named elsewhere in the command.
 *   nbd       A socket for each queue (transport_ops.open_queue). Requests arrive there, followed
 *             by the data of a write, and an answer is sent with the data of a read. There is no
 *             command and no wire, but its own struct fetch_way; its data is always transferred as
 *             DATA_COPY.
 */
#ifndef UBD_TRANSPORT_QUEUES_H
#define UBD_TRANSPORT_QUEUES_H

#include <stdbool.h>
#include <stdint.h>

#include "transport.h"

struct fetch_way;
struct fetch_wire;

struct transport_queues {
	/* How requests arrive: one by one, and in batches (NULL: not supported). See fetch.h. */
	const struct fetch_way *fetch, *fetch_batches;
	/* The commands with which these two fetch requests; see fetch_wire.h. */
	const struct fetch_wire *wires[DATA_WAYS]; /* by enum data_way */
	/* DATA_USER_COPY, DATA_ZERO_COPY: where the data of a tag begins in the server's file. */
	uint64_t (*data_off)(uint16_t q_id, uint16_t tag);
	/* How the two use rings: enum ring_use. */
	unsigned ring_uses;
	/* The answer to a failed request if acknowledged data may be lost. */
	int32_t result_lost;
	/*
	 * Closing the server's file does not end commands that wait for requests: the queue's
	 * thread must exit. If a device may be left to another server, its threads therefore serve
	 * no other device.
	 */
	bool keeps_commands;
	/*
	 * The kernel looks for partitions only if all queues' threads have CAP_SYS_ADMIN when they
	 * first fetch, so they do that before the process drops its privileges.
	 */
	bool asks_with_privileges;
};

extern const struct transport_queues transport_queues_ubd, transport_queues_ublk,
	transport_queues_nbd;

/* Of a driver. */
const struct transport_queues *transport_queues(const struct transport_ops *ops);

#endif
