/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a format implements, and the node it works on. For files in formats/
 * and for tests that bring a bottom node of their own; others use image.h.
 *
 * The checked entry (image_io.c) calls the ops with: a range inside the image
 * (requests of a node that grows may pass its end),
 * not empty, on request_alignment (the last block may pass the end of an
 * image that is no multiple of it); memory on memory_alignment; never a write on a read-only
 * node; FUA only as a flush behind the write unless `handles_fua`. An op that cannot use the data
 * in a fixed buffer answers -EINVAL, and is called again with a copy of them in memory.
 */
#ifndef UBD_IMAGE_OPS_H
#define UBD_IMAGE_OPS_H

#include <stdatomic.h>

#include "colock.h"
#include "error.h"
#include "image.h"

struct image_memory;

/* What every node does. */
struct image_ops {
	const char *name;
	/* Requests may pass its end: reads get zeroes there, writes let it grow. */
	bool grows;
	/* co_pwritev honours IMAGE_REQ_FUA itself. */
	bool handles_fua;

	/* Writes what is held back and frees img->opaque, whatever happens. */
	int (*co_close)(struct image *img);
	int (*co_preadv)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
	int (*co_pwritev)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags);
	/*
	 * Any range inside the image, any memory; -EINVAL where it is not made of whole
	 * clusters. NULL: the format cannot compress.
	 */
	int (*co_pwrite_compressed)(struct image *img, uint64_t off, uint64_t bytes,
				    struct iobuf mem);
	int (*co_flush)(struct image *img);
	/* NULL: nothing that was acknowledged is held in memory. */
	int (*co_write_back)(struct image *img);
	/* NULL: discards are ignored. */
	int (*co_pdiscard)(struct image *img, uint64_t off, uint64_t bytes);
	/*
	 * NULL or -ENOTSUP: the checked entry writes a buffer of zeroes, unless
	 * the flags have NO_FALLBACK; for the op they matter where it asks the node below.
	 */
	int (*co_pwrite_zeroes)(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);
	/* NULL: all of it is data of this layer at the same offset. */
	int (*co_block_status)(struct image *img, uint64_t off, uint64_t bytes,
			       struct image_extent *ret_extent);
	/* Of a node that grows; NULL: its size cannot be set. */
	int (*co_truncate)(struct image *img, uint64_t size);
	/* Makes img->size larger if the file is; NULL: something else decides on it. */
	int (*co_refresh_size)(struct image *img);
	/* NULL: as many as the node below. */
	int64_t (*co_allocated_bytes)(struct image *img);
};

/* A node that stands on another, img->file. */
struct format_ops {
	struct image_ops io;
	/* Of another program: opened with IMAGE_INFO_ONLY alone. */
	bool info_only;
	/* What looks like no other format is of this one. */
	bool headerless;
	/* Never has a backing file. */
	bool no_backing;
	/* Its images may have an external data file. */
	bool has_data_files;
	/* Can be read while others write to it: it keeps nothing of the file in memory. */
	bool bears_writers;

	/*
	 * Sets img->size, img->limits, img->opaque. A format with a backing file sets
	 * img->backing_filename (as written) and img->backing_format; image_open.c opens and
	 * attaches it. On failure it leaves nothing behind, opts->data_file neither.
	 */
	int (*co_open)(struct image *img, const struct image_open_opts *opts, GError **err);
	/* image_co_resize() as a whole; its errors name no file. NULL: fixed size. */
	int (*co_resize)(struct image *img, uint64_t size, enum image_preallocation mode,
			 GError **err);
	/* NULL: nothing is to be done at the end of a copy. */
	int (*co_finish)(struct image *img);
	/* Of image_co_amend(); options are those of amend_options, its errors name no file. */
	const struct image_option *amend_options;
	int (*co_amend)(struct image *img, GHashTable *options,
			void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
			GError **err);
	/* Adds what it knows to *info: with image_info_add_...(), what it alone has. */
	int (*co_get_info)(struct image *img, struct image_info *info, GError **err);
	int (*co_check)(struct image *img, const struct image_check_opts *opts,
			struct image_check_result *result);

	/*
	 * Snapshots inside of the image; NULL where the format has none. The list is of
	 * struct image_snapshot, see image.h. The others change an image that may be written, with
	 * requests in flight.
	 */
	int (*co_snapshot_list)(struct image *img, GArray *list);
	int (*co_snapshot_create)(struct image *img, const char *name, GError **err);
	int (*co_snapshot_apply)(struct image *img, const char *which, GError **err);
	int (*co_snapshot_delete)(struct image *img, const char *name, GError **err);

	/* Dirty bitmaps; all or none. Not called on a read-only node: change and merge. */
	int (*co_bitmap_list)(struct image *img, GPtrArray **ret_list, GError **err);
	int (*co_bitmap_load)(struct image *img, const char *name, struct dirty_bits **ret_bits,
			      GError **err);
	int (*co_bitmap_change)(struct image *img, enum image_bitmap_action action,
				const char *name, uint64_t granularity, GError **err);
	int (*co_bitmap_merge)(struct image *img, const char *name, const struct dirty_bits *src,
			       GError **err);

	/* Ended by a NULL name. */
	const struct image_option *create_options;
	/*
	 * Whether co_create takes these options and this size, before any file is touched.
	 * NULL: it takes all whose names are in create_options. Its errors name no file.
	 */
	int (*check_create)(const struct image_create_opts *opts, GError **err);
	/*
	 * Writes an image to @file, a node that grows, opened read-write and empty (a block device
	 * is as it was); opts->size is decided by then. NULL: cannot be created.
	 */
	int (*co_create)(struct image *file, const struct image_create_opts *opts, GError **err);
};

/* A node that a file name stands for: what a graph of nodes ends in. */
struct bottom_ops {
	struct image_ops io;
	/*
	 * The rest of the name, behind the prefix, is a path; co_open looks at opts->named_file. An
	 * image may name no other.
	 */
	bool is_path;

	/* Opens img->filename: sets img->size, img->limits, img->opaque. */
	int (*co_open)(struct image *img, const struct image_open_opts *opts, GError **err);
	/*
	 * Of a node opened with IMAGE_BEAR_WRITERS: no others may write from now on.
	 * -EBUSY if one does. NULL: there are none.
	 */
	int (*co_keep_writers_out)(struct image *img, GError **err);
	/* For image_inspect() and image_troubles(); NULL: it has no troubles. */
	void (*inspect)(struct image *img);
	unsigned (*troubles)(const struct image *img);

	/*
	 * What image_co_file_id() and image_stable_name() say of a name; the first runs on
	 * a worker. NULL: names stand for nothing that could be found again.
	 */
	struct file_id (*identify)(const char *filename);
	char *(*stable_name)(const char *filename);
	/*
	 * Makes the file or, with an exclusive lock, empties what is there, and adds it to @begun.
	 * NULL: cannot be created.
	 */
	int (*co_create)(const char *filename, struct image_begun *begun, GError **err);
};

struct image {
	const struct image_ops *ops;	 /* of one of the next two */
	const struct format_ops *format; /* never NULL: of a bottom node it has nothing in it */
	const struct bottom_ops *bottom; /* the same of a format node */
	char *filename;
	struct image *file;	 /* owned; NULL for a bottom node */
	struct image *data_file; /* the format's; NULL: data are in @file */
	struct image *backing;	 /* owned; NULL if none */
	char *backing_filename;	 /* as written in the image; NULL if none */
	char *backing_format;	 /* as written in the image; NULL if none */
	_Atomic uint64_t size;
	struct file_id id;  /* of a bottom node; the file that is open */
	int64_t changed_ns; /* of a bottom node: image_file_changed_ns() */
	bool is_bdev;	    /* of a bottom node: a block device of the host */
	bool unlocked;	    /* of a bottom node: without locks, which nobody asked for */
	unsigned flags;	    /* IMAGE_* it was opened with */
	struct image_limits limits;
	/*
	 * Requests on request_alignment take it for reading, a write that needs
	 * read-modify-write for writing. Not used where request_alignment is 1.
	 */
	struct co_rwlock *rmw_lock;
	struct image_memory *memory; /* the chain's; NULL for a bottom node */
	void *opaque;		     /* the format's own */
};

/*
 * Before a format allocates what lives as long as the image and whose size an image decides:
 * counts it. -EFBIG: it is more than is left, and @err, which may be NULL, says of @what. What
 * was not put back at close need not be.
 */
int image_memory_take(const struct image *img, uint64_t bytes, const char *what, GError **err);
/* The same where there is no way back, or what was taken lives on in another place. */
void image_memory_count(const struct image *img, uint64_t bytes);
void image_memory_put(const struct image *img, uint64_t bytes);
uint64_t image_memory_left(const struct image *img);
/* A cache that need not be so large takes at most this part of what is left. */
#define IMAGE_CACHE_SHARE 8

/* Pairs of image_info.specific. */
void image_info_add_string(GVariantBuilder *pairs, const char *name, const char *value);
void image_info_add_number(GVariantBuilder *pairs, const char *name, uint64_t value);
void image_info_add_bool(GVariantBuilder *pairs, const char *name, bool value);

extern const struct bottom_ops image_file_bottom;
extern const struct bottom_ops image_null_bottom;
extern const struct format_ops image_raw_format;
extern const struct format_ops image_qcow2_format;

/*
 * A bottom node with @ops for image_co_open_on(); @opaque is set before
 * ops->co_open, which is called here.
 */
int image_co_new_bottom(const struct bottom_ops *ops, const char *filename, unsigned flags,
			void *opaque, struct image **ret_img, GError **err);

/*
 * A node with @ops on @file, which it owns from now on, also on failure, for image_co_open_on(): a
 * filter, whose format no file name and no magic number gives.
 */
int image_co_new_format(const struct format_ops *ops, struct image *file, unsigned flags,
			struct image **ret_img, GError **err);

/*
 * For a format with a backing file: reads what the chain from @img (NULL: none)
 * down gives; zeroes behind the end of a layer. Walks down the chain instead of letting each
 * layer call the next, since a stack does not hold the longest chain.
 */
int image_co_preadv_chain(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

#endif
