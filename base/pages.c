// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory of pages; see pages.h. */
#include "pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "align.h"

/* Debian 12's headers know the first one. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* A write that changes nothing, whatever others write at the same time. */
static void touch(uint8_t *byte)
{
	__atomic_fetch_or(byte, 0, __ATOMIC_RELAXED);
}

void pages_touch(void *start, size_t bytes)
{
	const size_t page = page_size();
	uintptr_t first = align_down((uintptr_t)start, page);
	uintptr_t end = align_up((uintptr_t)start + bytes, page);
	int res;

	do {
		res = madvise((void *)first, end - first, MADV_POPULATE_WRITE);
	} while (res < 0 && (errno == EINTR || errno == EAGAIN));
	/* Linux before 5.14. */
	for (uintptr_t at = first; res < 0 && at < end; at += page)
		touch((uint8_t *)at);
}

void pages_give_back(void *start, size_t bytes)
{
	const size_t page = page_size();
	uintptr_t first = align_up((uintptr_t)start, page);
	uintptr_t end = align_down((uintptr_t)start + bytes, page);

	if (first >= end)
		return;
	if (madvise((void *)first, end - first, MADV_DONTNEED_LOCKED) < 0)
		madvise((void *)first, end - first, MADV_DONTNEED);
}
