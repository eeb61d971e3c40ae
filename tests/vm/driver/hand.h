/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server by hand: one queue, one tag, one ring, and only the test's thread. */
#ifndef UBD_TESTS_VM_DRIVER_HAND_H
#define UBD_TESTS_VM_DRIVER_HAND_H

#include "lib.h"

struct hand {
	struct server server;
	struct io_uring ring;
	uint8_t *buffer;
	unsigned int sqe_flags; /* of every command; with IOSQE_FIXED_FILE ubdcN is file 0 */
};

/* Adds and opens a device; the test creates the ring. */
void hand_open(struct hand *hand);

/* Fetches, and serves until START_DEV has returned. */
void hand_start(struct hand *hand);

/* Both, with a ring that has these flags. */
void hand_run(struct hand *hand, unsigned int ring_flags);

/* An SQE for the tag, which the test may change. */
struct io_uring_sqe *hand_prepare(struct hand *hand, uint32_t op, int32_t result);

/* The same, submitted. */
void hand_submit(struct hand *hand, uint32_t op, int32_t result);

/* The next CQE's res. */
int hand_wait(struct hand *hand);

/* The contents of the tag's descriptor. */
const struct ubdsrv_io_desc *hand_desc(const struct hand *hand);

/* A process that reads 4 KiB at 64 KiB, and exits with 0 if that works. */
int hand_spawn_reader(struct hand *hand);

/* Stops and deletes the device, whose tag has a FETCH. */
void hand_end(struct hand *hand);

#endif
