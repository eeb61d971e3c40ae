/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as people read them, printed like qemu-img and qemu-io; values.h parses what they write. */
#ifndef UBD_SIZE_H
#define UBD_SIZE_H

#include <stdint.h>

#include "values.h"

/* "1.5 GiB", with three digits, as qemu-img shows sizes. The caller frees it. */
char *size_to_text(uint64_t bytes);

/* "1.500 GiB" or "1 GiB", as qemu-io shows them. The caller frees it. */
char *size_to_io_text(double bytes);

#endif
