/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fuzz.c (rounds) and fuzz-actions.c (what is done in them) share. */
#ifndef UBD_TESTS_VM_DRIVER_FUZZ_H
#define UBD_TESTS_VM_DRIVER_FUZZ_H

#include "lib.h"

#define DEVICES	 3
#define DEPTH	 4
#define QUEUES	 2
#define IO_BYTES (64u << 10)

/* For the whole run, seen by all processes: what was done, and how often the driver agreed. */
struct tally {
	_Atomic unsigned long actions, added, started, served, recovered, mapped, copied, opened;
};

extern struct tally *tally;
extern uint64_t features; /* UBD_F_* that the driver knows */

struct thread {
	uint64_t state; /* of draw() */
	bool is_server; /* does what a server does, most of the time */
	bool has_table; /* the ring has one of registered files */
	bool user_copy; /* the device that it added has UBD_F_USER_COPY */
	struct io_uring ring;
};

uint64_t draw(struct thread *t);
unsigned below(struct thread *t, unsigned limit);

static inline bool one_in(struct thread *t, unsigned n)
{
	return below(t, n) == 0;
}

/* Before the threads of a round begin. */
void forget_files(void);

/* A ring of one kind or another; ends the process if there is none. */
void open_ring(struct thread *t);

/* What a server does, but for the chance in it; or anything. */
void live(struct thread *t);
void act(struct thread *t);

#endif
