/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new image: the layout of its parts (create_layout.c), from its options (create.c). */
#ifndef UBD_QCOW2_CREATE_H
#define UBD_QCOW2_CREATE_H

#include "image_int.h"

/* In QEMU's words. */
#define QCOW2_BAD_REFCOUNT_BITS "Refcount width must be a power of two and may not exceed 64 bits"

/* In this order from cluster 0 on; the header takes one. */
struct layout {
	/* set by the options */
	uint32_t version;
	unsigned cluster_bits;
	uint64_t cluster_size;
	unsigned refcount_order;
	bool lazy_refcounts;
	bool extended_l2;
	const char *data_file; /* as written to the image; NULL if none */
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

/* What the options and their defaults set. */
int qcow2_layout_from_options(struct layout *l, const struct image_create_opts *opts, GError **err);

/* Plans the place of each part. -EFBIG: it is too large for the format. */
int qcow2_plan_layout(struct layout *l, uint64_t size, GError **err);

/*
 * Counts all clusters that an image of this size can have, with its data, wherever the options put
 * that, but without snapshots and bitmaps. -EFBIG: see above, with QEMU's message.
 */
int qcow2_count_layout(struct layout *l, uint64_t size, uint64_t *ret_clusters, GError **err);

/* The offset of the L1 table. */
uint64_t qcow2_layout_l1_off(const struct layout *l);

/*
 * Writes everything except the header to an empty file or a block device, piece by piece, and
 * extends it and the external data file (NULL if there is none) to their final lengths. Flushes
 * nothing.
 */
int qcow2_co_write_layout(const struct layout *l, struct image *file, struct image *data_file);

#endif
