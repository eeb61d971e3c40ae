/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations on a chain of images as a whole: data moves from one image to another, but at any
 * instant, whatever happens, reads of the top image return the same data.
 *
 * All images are open, and no request is in flight. Errors name the file.
 */
#ifndef UBD_IMAGE_CHAIN_H
#define UBD_IMAGE_CHAIN_H

#include "image.h"

struct image_chain_opts {
	unsigned write_flags;	       /* IMAGE_REQ_FUA or none */
	uint64_t bytes_per_second;     /* 0: no limit */
	bool compress;		       /* for image_co_copy_differences() */
	struct aio_loop *const *loops; /* that share the work; NULL: the running one does it */
	unsigned nr_loops;
	/* Called when so many bytes of the disk are done, one call at a time; may be NULL. */
	void (*progress)(void *arg, uint64_t bytes);
	void *progress_arg;
};

/*
 * Closes the backing file of @layer, an image of the chain of @top, and opens it again, with
 * everything below it, which is only read. Of @opts, the flags, the policy and the size of the
 * cache count. On failure, @top can only be closed.
 */
int image_co_reopen_backing(struct image *top, struct image *layer,
			    const struct image_open_opts *opts, GError **err);

/*
 * Copies data that comes from the images above @base, an image of the chain of @top, to @base,
 * which is open for writing and grows to the size of @top if it is smaller. The data is durable on
 * return.
 */
int image_co_commit(struct image *top, struct image *base, const struct image_chain_opts *opts,
		    GError **err);

/*
 * Drops all data of the image: from now on, the whole disk comes from its backing file. The caller
 * ensures that this does not change the disk, so its dirty bitmaps stay as they are. A power cut
 * leaves the image as it was, or empty. Snapshots keep their data.
 */
int image_co_make_empty(struct image *img, GError **err);

/*
 * Copies to @img data that comes from its backing file and differs in @backing (NULL: none), so
 * that
 * @backing can replace the backing file.
 */
int image_co_copy_differences(struct image *img, struct image *backing,
			      const struct image_chain_opts *opts, GError **err);

/*
 * Records another backing file (NULL: none) and its format (NULL: to be probed), after all written
 * data is durable. The image itself does not use it until it is opened again. -ENOTSUP:
 * the format does not support backing files. -ENOSPC: the header has no room for the name. These
 * errors name no file.
 */
int image_co_set_backing(struct image *img, const char *filename, const char *format, GError **err);

#endif
