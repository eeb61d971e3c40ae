// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory for the data of requests; see data_memory.h. */
#include "data_memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "align.h"
#include "pages.h"

#define HUGE_PAGE (2u << 20)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void *data_memory_alloc_buffer(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	/* It belongs to the users of the disk. */
	madvise(map, bytes, MADV_DONTDUMP);
	return map;
}

void data_memory_free_buffer(void *buffer, size_t bytes)
{
	if (buffer)
		munmap(buffer, bytes);
}

/* With one huge page more, so that they can be where huge pages are. */
int data_memory_map(struct data_memory *memory, size_t bytes)
{
	size_t map_bytes = bytes + HUGE_PAGE;
	void *map = data_memory_alloc_buffer(map_bytes);

	if (!map)
		return -ENOMEM;
	*memory = (struct data_memory){
		.bufs = (uint8_t *)align_up((uintptr_t)map, HUGE_PAGE),
		.bytes = bytes,
		.map = map,
		.map_bytes = map_bytes,
	};
	return 0;
}

void data_memory_unmap(struct data_memory *memory)
{
	data_memory_free_buffer(memory->map, memory->map_bytes);
	*memory = (struct data_memory){ 0 };
}

void data_memory_forbid_huge_pages(const struct data_memory *memory)
{
	madvise(memory->bufs, memory->bytes, MADV_NOHUGEPAGE);
}

void data_memory_grow(const struct data_memory *memory)
{
	madvise(memory->bufs, memory->bytes, MADV_HUGEPAGE); /* only advice */
	/* From Linux 6.1 on. What it cannot do, such as pages that are being read to, stays. */
	madvise(memory->bufs, align_down(memory->bytes, HUGE_PAGE), MADV_COLLAPSE);
	pages_touch(memory->bufs, memory->bytes);
}
