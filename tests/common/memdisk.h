/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk in memory: sparse and, optionally, a layer on top of another one, which it reads through
 * and never changes. So a state of a disk costs only what differs. The caller locks.
 */
#ifndef UBD_TESTS_MEMDISK_H
#define UBD_TESTS_MEMDISK_H

#include <glib.h>
#include <stdint.h>

/* Nothing is written beyond this: no test needs that, but a bug may try. */
#define MEMDISK_MAX_SIZE (8ull << 30)

struct memdisk;

/* @below may be NULL; it must outlive the new disk and not change meanwhile. */
struct memdisk *memdisk_new(struct memdisk *below);
void memdisk_free(struct memdisk *disk);

uint64_t memdisk_size(const struct memdisk *disk);
/* What is cut off is gone; what is added is zero. */
void memdisk_set_size(struct memdisk *disk, uint64_t size);

/* Reads beyond the end give zeroes. */
void memdisk_read(const struct memdisk *disk, uint64_t off, uint64_t bytes, void *buf);
/* Both grow the disk if they extend beyond its end. */
void memdisk_write(struct memdisk *disk, uint64_t off, uint64_t bytes, const void *buf);
void memdisk_zero(struct memdisk *disk, uint64_t off, uint64_t bytes);

/* From and to a file. */
int memdisk_load(struct memdisk *disk, const char *filename);
int memdisk_save(const struct memdisk *disk, const char *filename);

#endif
