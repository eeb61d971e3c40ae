/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Getting memory for pages before they are needed, and giving it back. */
#ifndef UBD_PAGES_H
#define UBD_PAGES_H

#include <stddef.h>

/*
 * Gives memory to all pages of a private mapping that have none, so that nobody has to wait for it
 * later. Others may use them meanwhile; contents stay. The caller waits until there is memory.
 */
void pages_touch(void *start, size_t bytes);

/*
 * Gives the memory of the pages that are wholly within back to the system, even if they are locked.
 * They read as zeroes, and get memory again when they are used. Where the kernel cannot (before
 * Linux 5.18, locked pages), nothing happens.
 */
void pages_give_back(void *start, size_t bytes);

#endif
