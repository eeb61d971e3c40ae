// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How much memory a chain of images may take, since the images themselves say how large their
 * tables are: nodes take it before they allocate, when they are opened or changed, and never in a
 * request. Tables, caches and bitmaps are counted, which live as long as the image; buffers of
 * requests are not.
 */
#include <errno.h>
#include <inttypes.h>

#include "image_int.h"

struct image_memory {
	uint64_t limit;
	_Atomic uint64_t used;
};

static _Atomic uint64_t default_limit = IMAGE_DEFAULT_MEMORY_LIMIT;

void image_set_memory_limit(uint64_t bytes)
{
	atomic_store(&default_limit, bytes);
}

struct image_memory *image_memory_new(uint64_t limit)
{
	struct image_memory *memory = g_atomic_rc_box_new0(struct image_memory);

	memory->limit = limit ?: atomic_load(&default_limit);
	return memory;
}

struct image_memory *image_memory_ref(struct image_memory *memory)
{
	return g_atomic_rc_box_acquire(memory);
}

void image_memory_unref(struct image_memory *memory)
{
	g_atomic_rc_box_release(memory);
}

uint64_t image_memory_left(const struct image *img)
{
	uint64_t used = atomic_load(&img->memory->used);

	return used < img->memory->limit ? img->memory->limit - used : 0;
}

int image_memory_take(const struct image *img, uint64_t bytes, const char *what, GError **err)
{
	struct image_memory *memory = img->memory;
	uint64_t used = atomic_load(&memory->used);

	do {
		if (used <= memory->limit && bytes <= memory->limit - used)
			continue;
		return error_refuse(
			err, -EFBIG,
			"%s needs %" PRIu64 " bytes of memory, but only %" PRIu64
			" are left of the limit of %" PRIu64
			" for an image and its backing files; raise it with --memory-limit "
			"of ubd-serve or, for the tools, with UBD_MEMORY_LIMIT",
			what, bytes, image_memory_left(img), memory->limit);
	} while (!atomic_compare_exchange_weak(&memory->used, &used, used + bytes));
	return 0;
}

void image_memory_count(const struct image *img, uint64_t bytes)
{
	atomic_fetch_add(&img->memory->used, bytes);
}

void image_memory_put(const struct image *img, uint64_t bytes)
{
	atomic_fetch_sub(&img->memory->used, bytes);
}
