/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may touch which sectors of a disk. A range belongs to at most one job at a time, so that what
 * it must hold is known exactly; its neighbours in the same cluster belong to others, and that is
 * where copy-on-write goes wrong.
 *
 * A claim only orders jobs that had the same sector: a lock would hide from ThreadSanitizer what it
 * must find.
 */
#ifndef UBD_TESTS_CLAIMS_H
#define UBD_TESTS_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

struct claims {
	_Atomic uint8_t *taken; /* per sector */
};

void claims_init(struct claims *claims, uint64_t bytes);
void claims_destroy(struct claims *claims);

/* Takes all of a range (on sectors), or nothing. Any thread. */
bool try_claim(struct claims *claims, uint64_t guest_off, uint64_t bytes);
void unclaim(struct claims *claims, uint64_t guest_off, uint64_t bytes);

#endif
