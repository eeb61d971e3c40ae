/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The progress line of a long job: updated continuously, if asked for, and printed on standard
 * error for each SIGUSR1 (and SIGINFO, where it exists), like qemu-img's.
 */
#ifndef UBD_PROGRESS_H
#define UBD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool enabled;
	_Atomic uint64_t done;
	_Atomic uint64_t total;
	double shown; /* per cent */
	/* NULL: use @done. */
	uint64_t (*count)(void *arg);
	void *arg;
};

/* From now on these signals do not end the program. */
void progress_listen(void);

void progress_start(struct progress *progress, bool enabled, uint64_t total);
/* For a job that only shows progress when asked; @count is called in a signal handler. */
void progress_start_counted(struct progress *progress, uint64_t total, uint64_t (*count)(void *arg),
			    void *arg);
/* Adds @done. Prints when progress has advanced by at least one percent. */
void progress_add(struct progress *progress, uint64_t done);
/* The job is done: shows 100 %, on a line that another message may end. */
void progress_complete(struct progress *progress);
/* Ends the line, at 100 % unless the job failed. */
void progress_end(struct progress *progress, bool failed);

#endif
