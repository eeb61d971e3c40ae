// SPDX-License-Identifier: GPL-2.0-or-later
/* A disk in memory; see memdisk.h. A missing page is looked for in the layer below. */
#include "memdisk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iobuf.h"

#define PAGE_BYTES 4096u

struct memdisk {
	struct memdisk *below;
	GPtrArray *pages;
	uint64_t size;
};

struct memdisk *memdisk_new(struct memdisk *below)
{
	struct memdisk *disk = g_new0(struct memdisk, 1);

	disk->below = below;
	disk->pages = g_ptr_array_new_with_free_func(g_free);
	disk->size = below ? below->size : 0;
	return disk;
}

void memdisk_free(struct memdisk *disk)
{
	if (!disk)
		return;
	g_ptr_array_free(disk->pages, true);
	g_free(disk);
}

uint64_t memdisk_size(const struct memdisk *disk)
{
	return disk->size;
}

void memdisk_set_size(struct memdisk *disk, uint64_t size)
{
	assert(size <= MEMDISK_MAX_SIZE);
	if (size < disk->size)
		memdisk_zero(disk, size, disk->size - size);
	disk->size = size;
}

/* NULL if no layer has the page. */
static const uint8_t *find_page(const struct memdisk *disk, uint64_t index)
{
	for (; disk; disk = disk->below) {
		if (index < disk->pages->len && disk->pages->pdata[index])
			return disk->pages->pdata[index];
	}
	return NULL;
}

static uint8_t *own_page(struct memdisk *disk, uint64_t index)
{
	const uint8_t *old;
	uint8_t *page;

	if (index >= disk->pages->len)
		g_ptr_array_set_size(disk->pages, index + 1);
	if (disk->pages->pdata[index])
		return disk->pages->pdata[index];

	old = find_page(disk->below, index);
	page = old ? g_memdup2(old, PAGE_BYTES) : g_malloc0(PAGE_BYTES);
	disk->pages->pdata[index] = page;
	return page;
}

static uint64_t part_in_page(uint64_t off, uint64_t bytes)
{
	return MIN(bytes, PAGE_BYTES - off % PAGE_BYTES);
}

void memdisk_read(const struct memdisk *disk, uint64_t off, uint64_t bytes, void *buf)
{
	uint8_t *dst = buf;

	while (bytes) {
		uint64_t part = part_in_page(off, bytes);
		const uint8_t *page = find_page(disk, off / PAGE_BYTES);

		if (page)
			memcpy(dst, page + off % PAGE_BYTES, part);
		else
			memset(dst, 0, part);
		dst += part;
		off += part;
		bytes -= part;
	}
}

void memdisk_write(struct memdisk *disk, uint64_t off, uint64_t bytes, const void *buf)
{
	const uint8_t *src = buf;

	assert(off <= MEMDISK_MAX_SIZE && bytes <= MEMDISK_MAX_SIZE - off);
	disk->size = MAX(disk->size, off + bytes);
	while (bytes) {
		uint64_t part = part_in_page(off, bytes);

		memcpy(own_page(disk, off / PAGE_BYTES) + off % PAGE_BYTES, src, part);
		src += part;
		off += part;
		bytes -= part;
	}
}

void memdisk_zero(struct memdisk *disk, uint64_t off, uint64_t bytes)
{
	assert(off <= MEMDISK_MAX_SIZE && bytes <= MEMDISK_MAX_SIZE - off);
	disk->size = MAX(disk->size, off + bytes);
	while (bytes) {
		uint64_t part = part_in_page(off, bytes);

		if (find_page(disk, off / PAGE_BYTES))
			memset(own_page(disk, off / PAGE_BYTES) + off % PAGE_BYTES, 0, part);
		off += part;
		bytes -= part;
	}
}

int memdisk_load(struct memdisk *disk, const char *filename)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *contents = NULL;
	gsize length;

	if (!g_file_get_contents(filename, &contents, &length, &err))
		return -EIO;
	memdisk_set_size(disk, 0);
	for (uint64_t off = 0; off < length; off += PAGE_BYTES) {
		uint64_t part = MIN(PAGE_BYTES, length - off);

		if (!buffer_is_zero(contents + off, part))
			memdisk_write(disk, off, part, contents + off);
	}
	memdisk_set_size(disk, length);
	return 0;
}

static int save_pages(const struct memdisk *disk, int fd)
{
	if (ftruncate(fd, disk->size) < 0)
		return -errno;
	for (uint64_t off = 0; off < disk->size; off += PAGE_BYTES) {
		const uint8_t *page = find_page(disk, off / PAGE_BYTES);
		uint64_t part = MIN(PAGE_BYTES, disk->size - off);

		if (page && pwrite(fd, page, part, off) != (ssize_t)part)
			return -EIO;
	}
	return 0;
}

int memdisk_save(const struct memdisk *disk, const char *filename)
{
	int fd = open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret;

	if (fd < 0)
		return -errno;
	ret = save_pages(disk, fd);
	close(fd);
	return ret;
}
