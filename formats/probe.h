/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which format a file has, by its magic number. */
#ifndef UBD_PROBE_H
#define UBD_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything but what is at the end of a file shows within this many bytes of its start. */
#define PROBE_HEAD_BYTES 512
/* And the rest within this many of its end. */
#define PROBE_TAIL_BYTES 512

/* The name of the format of a file that starts with these bytes; NULL: it looks like none. */
const char *probe_head(const uint8_t *head, size_t bytes);

/* The same for a file that ends with these PROBE_TAIL_BYTES. */
const char *probe_tail(const uint8_t *tail);

#endif
