/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several loops, one per thread, that work on one thing at the same time. */
#ifndef UBD_TESTS_CREW_H
#define UBD_TESTS_CREW_H

#include "aio.h"

struct crew;

/*
 * Starts @loops loops with FIXED_BUFFERS registered buffers each; the calling thread runs one.
 * Ends the process if there are none.
 */
struct crew *crew_new(unsigned loops);
void crew_free(struct crew *crew);

/* Runs fn(arg) as a coroutine on the first loop, and returns when it has ended. */
void crew_run_co(struct crew *crew, co_fn *fn, void *arg);

/* From that coroutine: runs fn(args[i]) for all i, spread over the loops, and waits for them. */
void crew_co_run_all(struct crew *crew, co_fn *fn, void *const *args, unsigned count);

#endif
