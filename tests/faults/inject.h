/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults below the file node: the linker wraps ftruncate(), copy_file_range() and the calls of
 * aio.h that the node makes; they are counted, and the one wanted goes wrong. A read or write can
 * be short here, but not at a node.
 */
#ifndef UBD_TESTS_INJECT_H
#define UBD_TESTS_INJECT_H

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_EIO,
	FAULT_ENOSPC, /* of what takes space; nothing else goes wrong */
	FAULT_TORN,   /* a write that does its first half, and then -EIO */
	/* Those that must not be noticed: */
	FAULT_SHORT, /* half a read or write */
	FAULT_INTR,  /* -EINTR, which must be tried again */
	FAULT_KILL,  /* the process dies instead; for tests that expect that */
	NR_FAULT_KINDS,
};

extern const char *const fault_names[NR_FAULT_KINDS];

static inline bool fault_must_be_hidden(enum fault_kind kind)
{
	return kind == FAULT_NONE || kind == FAULT_SHORT || kind == FAULT_INTR;
}

/* From now on call @at, counted from 1, goes wrong; if @lasting, all later ones, too. */
void inject_start(enum fault_kind kind, unsigned at, bool lasting);
/* The fault is gone. */
void inject_stop(void);
/* Calls are not counted and nothing goes wrong until it is turned back. */
void inject_pause(bool pause);

/* How many calls there were since the start. */
unsigned inject_calls(void);
/* How many of them were transfers of a registered buffer. */
unsigned inject_fixed_calls(void);
/* How many went wrong. */
unsigned inject_hits(void);
/* Whether an fdatasync() has gone wrong since the last call of this. */
bool inject_take_sync(void);

#endif
