/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done to an image that may be anything: it is checked, read, written to, and checked and
 * read again. That must never crash; and an image that was free of corruption stays so, and holds
 * what was written.
 */
#ifndef UBD_TESTS_FUZZ_SESSION_H
#define UBD_TESTS_FUZZ_SESSION_H

#include "memdisk.h"

/* A session makes no larger files, and takes no larger inputs. */
#define SESSION_MAX_FILE (64ull << 20)

/* Call it once, before the others. */
void session_init(void);

/* Changes the disk. @seed decides on the requests. Aborts if something is wrong. */
void session_run(struct memdisk *disk, uint64_t seed);

#endif
