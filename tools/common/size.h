/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes and numbers as people write and read them, in the way of qemu-img and qemu-io. */
#ifndef UBD_SIZE_H
#define UBD_SIZE_H

#include <stdint.h>

/*
 * A size: decimal with an optional fraction, or hexadecimal, and an optional
 * suffix b, k, M, G, T, P or E (of either case; powers of 1024). A fraction
 * needs a suffix. 0, -EINVAL (not a size) or -ERANGE (over INT64_MAX).
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* A whole number, in C's notation, in @min to @max: 0, -EINVAL or -ERANGE. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);

/* "1.5 GiB", with three digits, as qemu-img shows sizes. The caller frees it. */
char *size_to_text(uint64_t bytes);

/* "1.500 GiB" or "1 GiB", as qemu-io shows them. The caller frees it. */
char *size_to_io_text(double bytes);

#endif
