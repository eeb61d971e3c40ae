/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fuzz.c (rounds), fuzz-actions.c and the others (actions in a round) share. */
#ifndef UBD_TESTS_VM_DRIVER_FUZZ_H
#define UBD_TESTS_VM_DRIVER_FUZZ_H

#include "batches.h"

#define DEVICES	 3
#define DEPTH	 4
#define QUEUES	 2
#define IO_BYTES (64u << 10)

/* For the whole run, shared by all processes: what was done, and how often the driver agreed. */
struct tally {
	_Atomic unsigned long actions, added, started, served, recovered, mapped, opened;
	_Atomic unsigned long copied, copied_by_ring, fixed; /* pieces of data */
	_Atomic unsigned long told;			     /* requests, by batches */
};

extern struct tally *tally;
extern uint64_t features; /* UBD_F_* that the driver knows */

struct thread {
	uint64_t state; /* of draw() */
	bool is_server; /* behaves like a server, most of the time */
	bool has_table; /* the ring has a table of registered files */
	bool recovers;	/* the device that it added has UBD_F_USER_RECOVERY */
	struct io_uring ring;
	struct batch batch; /* its buffers for tags */
};

uint64_t draw(struct thread *t);
unsigned below(struct thread *t, unsigned limit);

static inline bool one_in(struct thread *t, unsigned n)
{
	return below(t, n) == 0;
}

/* ---- fuzz-actions.c ---- */

/* Before a round starts its threads. */
void begin_round(struct thread *chance);

/* A ring of a random kind; ends the process if there is none. */
void open_ring(struct thread *t);

/* What a server does, with some randomness; or anything. */
void live(struct thread *t);
void act(struct thread *t);

/* For others to put into them. */
enum kind { CONTROL_FD, CHAR_NODE, CONTROL_NODE, DISK, KINDS };

uint64_t odd_number(struct thread *t);
int file_of(struct thread *t, enum kind kind);
struct io_uring_sqe *new_sqe(struct thread *t);
void vary(struct thread *t, struct io_uring_sqe *sqe);
void spoil(struct thread *t, void *data, size_t bytes);

/* ---- fuzz-batch.c ---- */

/* Whether most devices of the round have UBD_F_BATCH. */
extern bool by_batches;

void begin_batches(struct thread *chance);

/* Provides them to a new ring, or does not. */
void add_tag_buffers(struct thread *t);

/* What servers that use batches do: fetch all, answer; and what nobody should do. */
void fetch_batches(struct thread *t);
void handle_fetch_batch(struct thread *t, const struct io_uring_cqe *cqe);
void send_any_batch(struct thread *t);

/* ---- fuzz-data.c ---- */

/* In user_data, instead of a command. */
#define DATA_BY_RING 0xfffe
#define DATA_FIXED   0xffff

/* UBD_F_USER_COPY and _ZERO_COPY: of most devices in the round. */
extern uint64_t data_path;

/* Chooses it, and creates what requests and their data need. */
void begin_data(struct thread *chance);

/* What a FETCH says about data, or a copy of what the tag uses. */
void *fetch_addr(unsigned slot);

/* Registers buffers with a new ring, or does not. */
void add_buffers(struct thread *t);

/*
 * A child that waits for a disk must not keep a ring whose table has the pages that it waits for,
 * as docs/protocol.md tells servers; and START_RECOVERY waits until nobody has ubdcN open.
 */
void close_inherited(bool char_nodes);

/* Moves a request's data, or something in its place: by a call, by the ring, as a fixed buffer. */
void move_data(struct thread *t, unsigned q_id, unsigned tag);

#endif
