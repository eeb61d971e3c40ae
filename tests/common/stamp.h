/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests write to a guest disk: every sector says in each of its words where it belongs and
 * which write it came from, so that its contents alone show whether it is stale, misplaced or torn.
 */
#ifndef UBD_TESTS_STAMP_H
#define UBD_TESTS_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "align.h"

/* A sector of zeroes. Every other number belongs to one write. */
#define VERSION_ZERO	  0u
/* What the images are prepared with: in the backing file, and in the image itself. */
#define VERSION_BASE	  1u
#define VERSION_OLD	  2u
/* The first number for the writes of a test. */
#define VERSION_FIRST	  16u

/* The highest sector number that a stamp can hold, plus one: 8 GiB. */
#define STAMP_MAX_SECTORS (1u << 24)

/* Fills @bytes at @guest_off (both on sectors) of a disk; @buf is that range. */
void stamp_fill(void *buf, uint64_t guest_off, uint64_t bytes, uint32_t version);

/* Whether @buf is one whole sector that belongs at @guest_off, and its version. */
bool stamp_parse(const void *buf, uint64_t guest_off, uint32_t *ret_version);

/* Says what is in a sector, for people. The caller frees it. */
char *stamp_describe(const void *buf);

#endif
