/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for the data of requests. It has addresses from the start, and gets its pages when they
 * are touched: few at first, the rest when requests need it. In huge pages, where the system has
 * them: the disk below sees few pieces where we see one. Not before all of it is touched.
 */
#ifndef UBD_DATA_MEMORY_H
#define UBD_DATA_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct data_memory {
	uint8_t *bufs;
	size_t bytes;
	void *map; /* the mapping that contains them, or NULL */
	size_t map_bytes;
};

/* 0 or -ENOMEM. Any thread, as the others. */
int data_memory_map(struct data_memory *memory, size_t bytes);
/* Nothing happens to a zeroed struct. */
void data_memory_unmap(struct data_memory *memory);

/*
 * Few pages of it are touched, and the kernel must not make huge ones of them. Where it can, it
 * does so later, all at once.
 */
void data_memory_forbid_huge_pages(const struct data_memory *memory);
/* Touches all of it, which may wait for memory. */
void data_memory_grow(const struct data_memory *memory);

/*
 * A buffer for what is received, in which there may be data: it is not in a core dump. NULL: no
 * memory. Freed with the same size; NULL is fine.
 */
void *data_memory_alloc_buffer(size_t bytes);
void data_memory_free_buffer(void *buffer, size_t bytes);

#endif
