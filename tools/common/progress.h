/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line of a long job that says how far it is: as it goes on, if that was asked for, and
 * on standard error for each SIGUSR1 (and SIGINFO, where there is one), as qemu-img has it.
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
	/* NULL: @done is what is done. */
	uint64_t (*count)(void *arg);
	void *arg;
};

/* From now on those signals do not end the program. */
void progress_listen(void);

void progress_start(struct progress *progress, bool enabled, uint64_t total);
/* Of a job that shows nothing unless asked; @count is called in a signal handler. */
void progress_start_counted(struct progress *progress, uint64_t total, uint64_t (*count)(void *arg),
			    void *arg);
/* @done more of the total. Prints when it is at least one per cent further. */
void progress_add(struct progress *progress, uint64_t done);
/* Ends the line, at 100 % when the job did not fail. */
void progress_end(struct progress *progress, bool failed);

#endif
