/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The line of a long job that says how far it is. */
#ifndef UBD_PROGRESS_H
#define UBD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool enabled;
	uint64_t done;
	uint64_t total;
	double shown; /* per cent */
};

void progress_start(struct progress *progress, bool enabled, uint64_t total);
/* @done more of the total. Prints when it is at least one per cent further. */
void progress_add(struct progress *progress, uint64_t done);
/* Ends the line, at 100 % when the job did not fail. */
void progress_end(struct progress *progress, bool failed);

#endif
