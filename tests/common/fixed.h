/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a test as a registered buffer of its loop, like the pages of a request in a server:
 * only the ring and the buffer's copy functions may touch it.
 */
#ifndef UBD_TESTS_FIXED_H
#define UBD_TESTS_FIXED_H

#include "aio.h"
#include "iobuf.h"

/* Entries in the table of each loop of a crew. */
#define FIXED_BUFFERS 256

struct fixed_memory {
	struct fixed_buf buf;
	uint8_t *base;
	uint64_t copied; /* bytes, in and out */
};

/* Puts @bytes at @base into the table of the running loop. Ends the process if that fails. */
void fixed_memory_init(struct fixed_memory *memory, unsigned index, void *base, size_t bytes);
/* On the same loop. */
void fixed_memory_destroy(struct fixed_memory *memory);

static inline struct iobuf fixed_memory_view(const struct fixed_memory *memory)
{
	return iobuf_of_fixed(&memory->buf);
}

#endif
