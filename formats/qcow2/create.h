/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new image: where its parts lie (create_layout.c), found from its options (create.c). */
#ifndef UBD_QCOW2_CREATE_H
#define UBD_QCOW2_CREATE_H

#include "image_int.h"

/* In this order from cluster 0 on; the header takes one. */
struct layout {
	/* set by the options */
	uint32_t version;
	unsigned cluster_bits;
	uint64_t cluster_size;
	unsigned refcount_order;
	bool lazy_refcounts;
	bool extended_l2;
	const char *data_file; /* as it is to be written, NULL if none */
	bool data_file_raw;
	uint8_t compression_type;
	enum image_preallocation preallocation;
	/* set by qcow2_plan_layout() */
	uint64_t size;
	uint64_t l1_entries;
	uint64_t guest_clusters;
	/* in clusters */
	uint64_t reftable_clusters;
	uint64_t nr_refblocks;
	uint64_t l1_clusters;
	uint64_t nr_l2_tables;
	uint64_t data_clusters; /* in the image itself */
};

/* Finds out where all of it goes. -EFBIG: it is too much for the format. */
int qcow2_plan_layout(struct layout *l, uint64_t size, GError **err);

/* Where the L1 table is. */
uint64_t qcow2_layout_l1_off(const struct layout *l);

/*
 * Writes all but the header to an empty file or a block device, piece by piece, and makes
 * it and the external data file, NULL if there is none, as long as they have to be. Nothing
 * is flushed.
 */
int qcow2_co_write_layout(const struct layout *l, struct image *file, struct image *data_file);

#endif
