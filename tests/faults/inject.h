/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults below the file node: the calls of aio.h that it makes, and ftruncate(), are wrapped
 * by the linker, counted, and the one wanted goes wrong. Here, and not at a node, a read or
 * write can be short.
 */
#ifndef UBD_TESTS_INJECT_H
#define UBD_TESTS_INJECT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_EIO,
	FAULT_ENOSPC, /* of what takes space; the rest does not go wrong */
	FAULT_TORN,   /* a write that does its first half, and then -EIO */
	/* Those that must not be noticed: */
	FAULT_SHORT, /* half a read or write */
	FAULT_INTR,  /* -EINTR, which must be tried again */
	NR_FAULT_KINDS,
};

extern const char *const fault_names[NR_FAULT_KINDS];

static inline bool fault_must_be_hidden(enum fault_kind kind)
{
	return kind == FAULT_NONE || kind == FAULT_SHORT || kind == FAULT_INTR;
}

/* From now on call @at, counted from 1, goes wrong; and all after it where @lasting. */
void inject_start(enum fault_kind kind, unsigned at, bool lasting);
/* The fault is gone. */
void inject_stop(void);
/* Not counted and nothing goes wrong until it is turned back. */
void inject_pause(bool pause);

/* How many calls there were since the start. */
unsigned inject_calls(void);
/* How many of them were transfers of a registered buffer. */
unsigned inject_fixed_calls(void);
/* How many went wrong. */
unsigned inject_hits(void);
/* Whether an fdatasync() went wrong since this was asked last. */
bool inject_take_sync(void);

#endif
