/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recognises the format of a file by its magic number. */
#ifndef UBD_PROBE_H
#define UBD_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All formats except those with a footer show within this many bytes of the start ... */
#define PROBE_HEAD_BYTES 512
/* ... and the others within this many bytes of the end. */
#define PROBE_TAIL_BYTES 512

/* The name of the format of a file that starts with these bytes; NULL if it looks like none. */
const char *probe_head(const uint8_t *head, size_t bytes);

/* The same for a file that ends with these PROBE_TAIL_BYTES. */
const char *probe_tail(const uint8_t *tail);

#endif
