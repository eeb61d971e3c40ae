/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request of the disk's users, as the server sees it whichever driver it comes from. */
#ifndef UBD_REQUEST_DESC_H
#define UBD_REQUEST_DESC_H

#include <stdbool.h>
#include <stdint.h>

enum request_op {
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_FLUSH,
	REQUEST_DISCARD,
	REQUEST_WRITE_ZEROES,
	REQUEST_UNKNOWN, /* the server fails it */
};
#define REQUEST_OPS (REQUEST_UNKNOWN + 1)

struct request_desc {
	enum request_op op;
	bool fua;	 /* durable before it completes */
	bool may_unmap;	 /* REQUEST_WRITE_ZEROES: the space may be freed */
	bool fast;	 /* REQUEST_WRITE_ZEROES: fail rather than write zeroes as data */
	bool registered; /* zero copy: its pages are the tag's buffer in the queue's ring */
	uint64_t guest_off;
	uint64_t bytes; /* 0 for a flush */
};

#endif
