/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations that a filter hands on to the node below, as they are, with the size that has. */
#ifndef UBD_FILTER_PASS_H
#define UBD_FILTER_PASS_H

#include "image_ops.h"

int filter_co_pass_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
int filter_co_pass_close(struct image *img);
int filter_co_pass_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			   unsigned flags);
int filter_co_pass_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes,
				     struct iobuf mem);
int filter_co_pass_flush(struct image *img);
int filter_co_pass_write_back(struct image *img, uint64_t off, uint64_t bytes);
int filter_co_pass_pdiscard(struct image *img, uint64_t off, uint64_t bytes);
int filter_co_pass_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);
int filter_co_pass_block_status(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent);
int filter_co_pass_refresh_size(struct image *img);
int filter_co_pass_resize(struct image *img, uint64_t size, enum image_preallocation mode,
			  GError **err);

/*
 * For co_open: takes over the size and the limits of the node below, and hands events on to it. The
 * filter grows if that node does, and a format stands on the filter.
 */
void filter_take_limits(struct image *img);

/* After a request that the node below may have grown by. Returns @ret. */
int filter_follow_growth(struct image *img, int ret);

#endif
