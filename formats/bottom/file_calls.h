/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls on files that may wait for storage, on workers (co_block_on_worker()). A file, and
 * all files of a file system, make only so many at a time that there are workers left for others if
 * the file system hangs. Any thread.
 */
#ifndef UBD_FILE_CALLS_H
#define UBD_FILE_CALLS_H

#include <sys/types.h>

#include "colock.h"

/* Private to file_calls.c, as the next one. */
struct call_slots {
	struct thread_lock lock;
	unsigned taken GUARDED_BY(lock);
	struct co_queue queue; /* waits for one, which each wake hands over */
};

struct file_system;

struct file_calls {
	struct call_slots slots;
	struct file_system *fs;
};

/* @dev: the file's st_dev or, of a block device, its st_rdev. */
void file_calls_init(struct file_calls *calls, dev_t dev);
/* No call runs or waits. */
void file_calls_destroy(struct file_calls *calls);

/* Runs fn(arg) on a worker, and returns its result. It must not make another one of these calls. */
int file_calls_co_run(struct file_calls *calls, int (*fn)(void *arg), void *arg);

#endif
