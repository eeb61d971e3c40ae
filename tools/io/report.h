/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two lines that report a request, and the dump of the data that it read. */
#ifndef UBD_REPORT_H
#define UBD_REPORT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct report_opts {
	gboolean quiet;	  /* -q: nothing */
	gboolean machine; /* -C: one line of numbers */
};

/* @verb is "read", "wrote", ...; @started is g_get_monotonic_time() before the request. */
void report_request(const struct report_opts *opts, const char *verb, uint64_t off, uint64_t bytes,
		    int64_t started);

/* Hexadecimal, 16 bytes per line; @off is the offset of the first byte. */
void report_dump(const uint8_t *buf, uint64_t off, uint64_t bytes);

#endif
