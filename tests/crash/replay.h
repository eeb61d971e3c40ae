/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk may hold after its power was cut, made from the log of a memnode.
 *
 * Everything that ended before the last completed flush started is there. Of what came after, or
 * was in flight, each request is there as a whole, or not at all, or only some of its sectors; in
 * any order that the times of the requests allow. The size of the file goes with it, or runs ahead
 * of the data; a file that was growing ahead may be longer still, with zeroes at its end.
 *
 * If only the process has died, everything that had ended is there.
 */
#ifndef UBD_TESTS_REPLAY_H
#define UBD_TESTS_REPLAY_H

#include "memnode.h"

struct replay {
	const GPtrArray *log; /* in order of start; nothing is in flight */
	bool process_only;    /* has died, set after replay_init(): no power was cut */
	bool grows_ahead;     /* the file, set after replay_init() */
	GPtrArray *by_end;    /* what took effect, in that order */
	unsigned nr_durable;  /* how many of those are in @durable */
	uint64_t durable_at;  /* the start of the flush that made it durable */
	struct memdisk *durable;
};

/* @initial: the disk before the log; it and the log must outlive the replay. */
void replay_init(struct replay *replay, struct memdisk *initial, const GPtrArray *log);
void replay_destroy(struct replay *replay);

/*
 * The disk after a power cut at tick @cut; @rng decides what reached it. Cuts must come in order of
 * time. The disk is a layer on the replay's own: the caller frees it before the next cut.
 */
struct memdisk *replay_cut(struct replay *replay, uint64_t cut, struct rng *rng);

#endif
