// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests and errors of the NBD protocol; see nbd_wire.h. */
#include "nbd_wire.h"

#include <endian.h>
#include <errno.h>

static enum request_op op_of(uint16_t type)
{
	switch (type) {
	case NBD_CMD_READ:
		return REQUEST_READ;
	case NBD_CMD_WRITE:
		return REQUEST_WRITE;
	case NBD_CMD_FLUSH:
		return REQUEST_FLUSH;
	case NBD_CMD_TRIM:
		return REQUEST_DISCARD;
	case NBD_CMD_WRITE_ZEROES:
		return REQUEST_WRITE_ZEROES;
	default:
		return REQUEST_UNKNOWN;
	}
}

struct request_desc nbd_extended_request_desc(const struct nbd_extended_request *wire)
{
	unsigned flags = be16toh(wire->flags);

	return (struct request_desc){
		.op = op_of(be16toh(wire->type)),
		.fua = flags & NBD_CMD_FLAG_FUA,
		.may_unmap = !(flags & NBD_CMD_FLAG_NO_HOLE),
		.fast = flags & NBD_CMD_FLAG_FAST_ZERO,
		.guest_off = be64toh(wire->offset),
		.bytes = be64toh(wire->length),
	};
}

struct request_desc nbd_request_desc(const struct nbd_request *wire)
{
	const struct nbd_extended_request wide = {
		.flags = wire->flags,
		.type = wire->type,
		.offset = wire->offset,
		.length = htobe64(be32toh(wire->length)),
	};

	return nbd_extended_request_desc(&wide);
}

/* The protocol's numbers are Linux's, of which it has a few. */
uint32_t nbd_error_of(int res)
{
	if (res >= 0)
		return NBD_SUCCESS;
	switch (res) {
	case -EPERM:
	case -EROFS:
		return NBD_EPERM;
	case -ENOMEM:
		return NBD_ENOMEM;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return NBD_ENOSPC;
	case -EOVERFLOW:
		return NBD_EOVERFLOW;
	case -ENOTSUP:
		return NBD_ENOTSUP;
	case -ESHUTDOWN:
		return NBD_ESHUTDOWN;
	case -EINVAL:
		return NBD_EINVAL;
	default:
		return NBD_EIO;
	}
}
