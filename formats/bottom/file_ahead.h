/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grows a regular file ahead of the writes that append to it: see file_ahead.c for the rules.
 *
 * The owner of the file calls file_ahead_written() after each write that may have made it longer,
 * and cuts off what was not used before it closes the file.
 */
#ifndef UBD_FILE_AHEAD_H
#define UBD_FILE_AHEAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "colock.h"

struct file_calls;
struct image;

struct file_ahead {
	const struct image *img;
	int fd;
	struct file_calls *calls;
	/* A write that ends behind this starts the next step; UINT64_MAX: none does. */
	_Atomic uint64_t trigger;
	/* The file was made longer than its data at some time. */
	_Atomic bool has_grown;
	struct thread_lock lock;
	struct co_queue ended; /* waits for the end of a step */
	bool running GUARDED_BY(lock);
	bool is_off GUARDED_BY(lock);	/* from the start, or since a step failed */
	uint64_t step GUARDED_BY(lock); /* bytes of the next step, at most */
	uint64_t end GUARDED_BY(lock);	/* how far the last step has made space */
	uint64_t from, to;		/* of the step that runs */
};

/* For @img, a node of the file @fd, which makes @calls. Off until file_ahead_turn_on(). */
void file_ahead_init(struct file_ahead *ahead, const struct image *img, int fd,
		     struct file_calls *calls);

/* After file_ahead_co_end(). */
void file_ahead_destroy(struct file_ahead *ahead);

/*
 * From now on the file grows ahead of writes that end behind img->size. False: the process may not
 * make files as long as it likes.
 */
bool file_ahead_turn_on(struct file_ahead *ahead);

/* Starts a step on the loop of the caller; use file_ahead_written(). */
void file_ahead_start(struct file_ahead *ahead);

/*
 * The file has been written up to @end, and img->size says so. Starts a step if it is time for one;
 * never waits. Any loop.
 */
static inline void file_ahead_written(struct file_ahead *ahead, uint64_t end)
{
	if (end > atomic_load_explicit(&ahead->trigger, memory_order_relaxed))
		file_ahead_start(ahead);
}

/*
 * Before the file is made to end elsewhere: waits for the step that runs, which would make it
 * longer again. None starts until file_ahead_truncated().
 */
void file_ahead_co_pause(struct file_ahead *ahead);

/* The file was made to end at @size, by us, or could not be. */
void file_ahead_truncated(struct file_ahead *ahead, uint64_t size);

/* Starts no further step, and waits for the one that runs. */
void file_ahead_co_end(struct file_ahead *ahead);

/*
 * Before the file is closed, and after file_ahead_co_end(): cuts off what lies behind img->size. 0
 * or -errno. On a worker.
 */
int file_ahead_cut(const struct file_ahead *ahead);

#endif
