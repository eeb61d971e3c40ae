/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as people write them: the one grammar of options, sizes and names, that of QEMU 7.2. */
#ifndef UBD_VALUES_H
#define UBD_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A size: decimal with an optional fraction, or hexadecimal, and an optional
 * suffix b, k, M, G, T, P or E (of either case; powers of 1024). Blanks and a plus sign may come
 * first. Bytes have no fraction but 0. 0, -EINVAL (not a size) or -ERANGE (over INT64_MAX).
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* A whole number, in C's notation, in @min to @max: 0, -EINVAL or -ERANGE. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);

/* on, yes, true, y; off, no, false, n. False for anything else. */
bool bool_parse(const char *text, bool *ret_on);

#endif
