/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sound images of all kinds, made by qemu-img when a target starts, and where their metadata lies.
 * A target patches a few places of one of them, and so every input gets past the header.
 */
#ifndef UBD_TESTS_FUZZ_BASE_H
#define UBD_TESTS_FUZZ_BASE_H

#include <stdint.h>

#include "memdisk.h"

enum region_kind {
	REGION_HEADER, /* with its extensions */
	REGION_L1,
	REGION_L2,
	REGION_REFTABLE,
	REGION_REFBLOCK,
	REGION_SNAPSHOTS, /* the table, and the L1 tables of the snapshots */
	REGION_BITMAPS,	  /* directory and tables */
	REGION_COMPRESSED,
	NR_REGION_KINDS,
};

struct region {
	uint64_t off;
	uint64_t bytes;
};

struct base_image {
	const char *name;
	struct memdisk *disk;
	unsigned cluster_bits;
	GArray *regions[NR_REGION_KINDS]; /* struct region; may be empty */
};

extern unsigned nr_base_images;

/* Makes them. Ends the process if that fails. */
void base_images_make(void);
const struct base_image *base_image_at(unsigned index);

/* The place of byte @index, counted through all regions of a kind, which is not empty. */
uint64_t base_image_place(const struct base_image *base, enum region_kind kind, uint64_t index);
uint64_t base_image_region_bytes(const struct base_image *base, enum region_kind kind);

#endif
