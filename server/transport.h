/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a kernel driver must give to the server.
 */
#ifndef UBD_TRANSPORT_H
#define UBD_TRANSPORT_H

#include <stdint.h>

struct fetch_way;
struct fetch_wire;

/* How the data of requests is transferred between the driver and the server; see data.h. */
enum data_way {
	DATA_COPY,
	DATA_USER_COPY,
	DATA_ZERO_COPY,
};

struct transport_ops {
	/* ---- a queue; its thread ---- */

	/* How requests come: one by one, and in batches (NULL: they never do). See fetch.h. */
	const struct fetch_way *fetch, *fetch_batches;
	/* The commands with which the two ask for requests; see fetch_wire.h. */
	const struct fetch_wire *wire;
	/* DATA_USER_COPY, DATA_ZERO_COPY: where the data of a tag begins in the server's file. */
	uint64_t (*data_off)(uint16_t q_id, uint16_t tag);
	/* The answer to a request that failed, if data that was acknowledged before may be lost. */
	int32_t result_lost;
};

extern const struct transport_ops transport_ubd;

#endif
