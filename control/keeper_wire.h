/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server and its keeper say to each other, in messages of one size each; see keeper.h. */
#ifndef UBD_KEEPER_WIRE_H
#define UBD_KEEPER_WIRE_H

#include "transport.h"

/*
 * The socket by which the keeper gets its devices. The answer has a descriptor: the socket of the
 * device's first handle.
 */
enum keeper_gift_kind {
	KEEPER_GIVE,  /* a device of the server's; refused once it is sealed */
	KEEPER_SEAL,  /* no more of them; there is no answer */
	KEEPER_ORDER, /* a device that somebody else orders (keeper_order.h), and then told of */
};

struct keeper_gift {
	enum keeper_gift_kind kind;
	struct transport_seed seed; /* KEEPER_ORDER: only its driver counts */
};

enum keeper_op {
	KEEPER_CLONE, /* a descriptor comes back: a socket for another handle */
	KEEPER_GET_INFO,
	KEEPER_SET_PARAMS,
	KEEPER_GET_PARAMS,
	KEEPER_GET_QUEUE_CPUS,
	KEEPER_OPEN_SERVER_FILE, /* a descriptor comes back; of a device that was ordered */
	KEEPER_OPEN_QUEUE,	 /* a descriptor comes back */
	KEEPER_START,
	KEEPER_STOP,
	KEEPER_STOP_IF_UNUSED,
	KEEPER_DELETE,
	KEEPER_RESIZE,
	KEEPER_END_RECOVERY,
};

struct keeper_request {
	enum keeper_op op;
	uint16_t q_id;
	uint64_t sectors;
	struct device_params params;
};

struct keeper_reply {
	int res;
	char error[256]; /* "": none */
	union {
		struct transport_info info;
		struct device_params params;
		cpu_set_t cpus;
	};
};

/*
 * One message, with a descriptor unless @fd is -1. 0 or -errno; -EPIPE if the other one has gone.
 * Any thread.
 */
int keeper_send(int sock, const void *data, size_t bytes, int fd);
/*
 * -EPIPE, too, if it is not of that size or has several descriptors. *@ret_fd is closed by the
 * caller; -1: there is none, as after every error.
 */
int keeper_receive(int sock, void *data, size_t bytes, int *ret_fd);

#endif
