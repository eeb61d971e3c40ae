/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting to an NBD export: by libnbd, without blocking the loop. */
#ifndef UBD_NBD_CONNECT_H
#define UBD_NBD_CONNECT_H

#include "aio.h"
#include "libnbd_late.h"
#include "nbd_place.h"

/* What the server says about the export; within bounds. */
struct nbd_facts {
	uint64_t size;
	uint32_t min_block; /* a power of two; divides the size */
	uint32_t max_block; /* a multiple of it */
	bool read_only;
	bool multi_conn;
	bool flush, fua, trim, zero, fast_zero, block_status;
};

/*
 * Connects and negotiates; libnbd is loaded. The caller closes the handle with libnbd.close().
 * Errors of the connection (ECONNREFUSED, ENOENT, ETIME...) or of the negotiation (EPROTO); @err
 * names no server.
 */
int nbd_co_connect(const struct nbd_place *place, struct aio_limit *limit,
		   struct nbd_handle **ret_handle, struct nbd_facts *ret_facts, GError **err);

#endif
