/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values as people write and read them: one grammar for options, sizes and names, that of QEMU 7.2,
 * and sizes printed like qemu-img and qemu-io do.
 */
#ifndef UBD_VALUES_H
#define UBD_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A size: decimal with an optional fraction, or hexadecimal, and an optional suffix b, k, M, G, T,
 * P or E (of either case; powers of 1024). Blanks and a plus sign may precede it. Bytes have no
 * fraction except 0. 0, -EINVAL (not a size) or -ERANGE (over INT64_MAX).
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "1.5 GiB", with three digits, as qemu-img shows sizes. The caller frees it. */
char *size_to_text(uint64_t bytes);

/* "1.500 GiB" or "1 GiB", as qemu-io shows them. The caller frees it. */
char *size_to_io_text(double bytes);

/* An integer in C notation, from @min to @max. 0, -EINVAL or -ERANGE. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);

/* on, yes, true, y; off, no, false, n. False for anything else. */
bool bool_parse(const char *text, bool *ret_on);

#endif
