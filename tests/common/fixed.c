// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory of a test as a registered buffer; see fixed.h. */
#include "fixed.h"

#include <string.h>

static int copy_in(const struct fixed_buf *buf, size_t off, const void *src, size_t bytes)
{
	struct fixed_memory *memory = (struct fixed_memory *)buf;

	memcpy(memory->base + off, src, bytes);
	memory->copied += bytes;
	return 0;
}

static int copy_out(const struct fixed_buf *buf, size_t off, void *dst, size_t bytes)
{
	struct fixed_memory *memory = (struct fixed_memory *)buf;

	memcpy(dst, memory->base + off, bytes);
	memory->copied += bytes;
	return 0;
}

static void set_buffer(unsigned index, void *base, size_t bytes)
{
	int ret = aio_loop_set_buffer(aio_loop_current(), index, base, bytes);

	if (ret)
		g_error("cannot register a buffer: %s", g_strerror(-ret));
}

void fixed_memory_init(struct fixed_memory *memory, unsigned index, void *base, size_t bytes)
{
	*memory = (struct fixed_memory){
		.buf = { index, (uintptr_t)base, copy_in, copy_out },
		.base = base,
	};
	set_buffer(index, base, bytes);
}

void fixed_memory_destroy(struct fixed_memory *memory)
{
	set_buffer(memory->buf.index, NULL, 0);
}
