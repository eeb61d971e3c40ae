/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operations that a format implements, and the node that they work on. For files in formats/
 * and for tests with their own bottom node; everything else uses image.h.
 *
 * The checked entry (image_io.c) calls the ops with a range that is inside the image (requests of a
 * node that grows may extend beyond its end), not empty, and aligned to request_alignment (the last
 * block may extend beyond the end of an image that is not a multiple of it); with memory that is
 * aligned to memory_alignment; never with a write on a read-only node; and with FUA only if
 * `handles_fua`, otherwise with a flush after the write. An op that cannot use the data in a fixed
 * buffer returns -EINVAL, and is called again with a copy in memory.
 */
#ifndef UBD_IMAGE_OPS_H
#define UBD_IMAGE_OPS_H

#include <stdatomic.h>

#include "colock.h"
#include "error.h"
#include "image.h"
#include "node_options.h"

struct image_memory;
struct throttle_group;
enum image_event;

/* Common to all nodes. */
struct image_ops {
	const char *name;
	/*
	 * Requests may extend beyond its end: reads get zeroes there, writes make it grow. Sets
	 * img->grows, which co_open may change.
	 */
	bool grows;
	/* co_pwritev honours IMAGE_REQ_FUA itself. */
	bool handles_fua;

	/* Writes everything held in memory and frees img->opaque, whatever happens. */
	int (*co_close)(struct image *img);
	int (*co_preadv)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
	int (*co_pwritev)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			  unsigned flags);
	/*
	 * Any range inside the image, any memory; -EINVAL unless it consists of whole clusters.
	 * NULL: the format does not support compression.
	 */
	int (*co_pwrite_compressed)(struct image *img, uint64_t off, uint64_t bytes,
				    struct iobuf mem);
	/*
	 * Any range inside the image, aligned; from a bottom node of any kind. NULL or -ENOTSUP:
	 * only memory can be written.
	 */
	int (*co_copy_range)(struct image *img, uint64_t off, struct image *from, uint64_t from_off,
			     uint64_t bytes, unsigned flags);
	/*
	 * image_co_copy_up() of whole clusters, of an image with a backing file. NULL: the format
	 * does not support backing files. A filter needs none: it is done to the node below.
	 */
	int (*co_copy_up)(struct image *img, uint64_t off, uint64_t bytes);
	/* Any range, any memory. NULL: the node below has the VM state, if it supports that. */
	int (*co_read_vm_state)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
	int (*co_write_vm_state)(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
	int (*co_flush)(struct image *img);
	/* NULL: this node holds no acknowledged data in memory. */
	int (*co_write_back)(struct image *img, uint64_t off, uint64_t bytes);
	/* NULL: discards are ignored. */
	int (*co_pdiscard)(struct image *img, uint64_t off, uint64_t bytes);
	/*
	 * NULL or -ENOTSUP: the checked entry writes a buffer of zeroes, unless the flags contain
	 * NO_FALLBACK. The op itself passes the flags to the node below.
	 */
	int (*co_pwrite_zeroes)(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);
	/* NULL: everything is data of this layer, at the same offset. */
	int (*co_block_status)(struct image *img, uint64_t off, uint64_t bytes,
			       struct image_extent *ret_extent);
	/* For a node that grows; NULL: its size cannot be set. */
	int (*co_truncate)(struct image *img, uint64_t size);
	/* Makes img->size larger if the file is; NULL: the file does not determine the size. */
	int (*co_refresh_size)(struct image *img);
	/* NULL: the same as the node below. */
	int64_t (*co_allocated_bytes)(struct image *img);
};

/* Breakpoints at events, for image_set_break() and the functions beside it. */
struct debug_ops {
	int (*set_break)(struct image *img, const char *event, const char *tag);
	int (*remove_break)(struct image *img, const char *tag);
	int (*resume)(struct image *img, const char *tag);
	void (*co_wait_break)(struct image *img, const char *tag);
};

/* A node on top of another, img->file. */
struct format_ops {
	struct image_ops io;
	/* Passes requests to the node below, and has no contents of its own. */
	bool is_filter;
	/* A filter used below formats, in the place of a protocol: QEMU calls it one. */
	bool is_protocol;
	/* Allocates space ahead of writes itself. */
	bool allocates_ahead;
	/* Refused in names from an image header if the policy is strict. */
	bool for_users;
	/* A name that leads to this node and those below it; NULL, or if it is NULL: JSON. */
	char *(*make_name)(const struct image *img);
	/* NULL: it has no breakpoints. */
	const struct debug_ops *debug;
	/* Another program's format: can only be opened with IMAGE_INFO_ONLY. */
	bool info_only;
	/* Applies to files that look like no other format. */
	bool headerless;
	/* Does not support backing files. */
	bool no_backing;
	/* The name of another node below it, which becomes its data file; NULL: it has none. */
	const char *second_child;
	/* Can be read while others write to the file, because it caches nothing. */
	bool bears_writers;
	/* Its options, in addition to node_common_options; NULL: none. */
	const struct node_option *options;

	/*
	 * Sets img->size, img->limits, img->opaque. A format with a backing file sets
	 * img->backing_filename (as written) and img->backing_format; image_open.c opens and
	 * attaches it. On failure it leaves nothing behind, including opts->data_file.
	 */
	int (*co_open)(struct image *img, const struct image_open_opts *opts, GError **err);
	/* image_co_resize() as a whole; its errors name no file. NULL: fixed size. */
	int (*co_resize)(struct image *img, uint64_t size, enum image_preallocation mode,
			 GError **err);
	/* The limits for which its requests wait, for image_take_throttle(); NULL: none. */
	struct throttle_group *(*throttle)(const struct image *img);
	/* NULL: there is nothing to do at the end of a copy. */
	int (*co_finish)(struct image *img);
	/* For image_co_amend(), with options from amend_options; its errors name no file. */
	const struct image_option *amend_options;
	int (*co_amend)(struct image *img, GHashTable *options,
			void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
			GError **err);
	/*
	 * For image_co_set_backing() and image_co_make_empty(), see image_chain.h; their errors
	 * name no file. NULL: the format does not support backing files.
	 */
	int (*co_set_backing)(struct image *img, const char *filename, const char *format,
			      GError **err);
	int (*co_make_empty)(struct image *img, GError **err);
	/* Adds information to *info; format-specific information with image_info_add_...(). */
	int (*co_get_info)(struct image *img, struct image_info *info, GError **err);
	int (*co_check)(struct image *img, const struct image_check_opts *opts,
			struct image_check_result *result);
	/* For image_get_stats(): adds this node's statistics. NULL: it has none. */
	void (*add_stats)(const struct image *img, struct image_stats *stats);
	/* For image_end_use(): frees cache memory. NULL: it has none. */
	void (*give_back)(struct image *img);
	/* image_load_compression(). NULL: nothing is loaded late. */
	void (*load_compression)(void);

	/*
	 * Internal snapshots; NULL if the format does not support them. The list consists of struct
	 * image_snapshot, see image.h. The others change a writable image, with requests in flight.
	 */
	int (*co_snapshot_list)(struct image *img, GArray *list);
	int (*co_snapshot_create)(struct image *img, const char *name, GError **err);
	int (*co_snapshot_apply)(struct image *img, const char *which, GError **err);
	int (*co_snapshot_delete)(struct image *img, const char *name, GError **err);

	/*
	 * Dirty bitmaps: all of these or none. Change and merge are not called on a read-only node.
	 */
	int (*co_bitmap_list)(struct image *img, GPtrArray **ret_list, GError **err);
	int (*co_bitmap_load)(struct image *img, const char *name, struct dirty_bits **ret_bits,
			      GError **err);
	int (*co_bitmap_change)(struct image *img, enum image_bitmap_action action,
				const char *name, uint64_t granularity, GError **err);
	int (*co_bitmap_merge)(struct image *img, const char *name, const struct dirty_bits *src,
			       GError **err);

	/* If some images of the format cannot; NULL: all can. */
	bool (*can_hold_bitmaps)(const struct image *img);

	/* Terminated by a NULL name. */
	const struct image_option *create_options;
	/*
	 * Checks the options and the size for co_create before any file is touched. NULL: all
	 * options in create_options are fine. Its errors name no file.
	 */
	int (*check_create)(const struct image_create_opts *opts, GError **err);
	/*
	 * Writes an image to @file, a node that grows, opened read-write and empty (a block device
	 * is as it was); opts->size is known. NULL: the format does not support creation.
	 */
	int (*co_create)(struct image *file, const struct image_create_opts *opts, GError **err);
	/* image_co_measure(); *ret_measurement is zeroed. NULL: not supported. */
	int (*co_measure)(const struct image_create_opts *opts, struct image *source,
			  struct image_measurement *ret_measurement, GError **err);
};

/* How a file is created; a file system need not support it. */
struct bottom_create_opts {
	bool nocow;
	uint32_t extent_size_hint; /* bytes; 0: none */
};

/* A node named by a file name, at the bottom of a graph of nodes. */
struct bottom_ops {
	struct image_ops io;
	/*
	 * The rest of the name, after the prefix, is a path; co_open checks opts->named_file. An
	 * image may only name such bottoms.
	 */
	bool is_path;
	/* Accessed over a network or a socket: images may name it only if that is allowed. */
	bool is_remote;
	/* Always reads as zeroes, whatever was written to it. */
	bool forgets;
	/* As for a format; includes "filename". */
	const struct node_option *options;

	/*
	 * Convert a name to options, and options to a name, which the caller frees. NULL: the name
	 * is the option "filename".
	 */
	int (*parse_name)(const char *filename, struct node_options *options, GError **err);
	char *(*make_name)(const struct node_options *options, GError **err);

	/* Opens img->filename: sets img->size, img->limits, img->opaque. */
	int (*co_open)(struct image *img, const struct image_open_opts *opts, GError **err);
	/*
	 * For a node opened with IMAGE_BEAR_WRITERS: from now on no other program may write. -EBUSY
	 * if one does. NULL: there can be none.
	 */
	int (*co_keep_writers_out)(struct image *img, GError **err);
	/* For image_inspect() and image_troubles(); NULL: the node has no troubles. */
	void (*inspect)(struct image *img);
	unsigned (*troubles)(const struct image *img);
	/* For image_space(); NULL: unknown. */
	struct image_space (*space)(const struct image *img);
	/* image_grow_ahead(); NULL: it never does. */
	bool (*grow_ahead)(struct image *img);

	/*
	 * For image_co_file_id() and image_stable_name(); the first runs on a worker. NULL: names
	 * do not identify anything persistent.
	 */
	struct file_id (*identify)(const char *filename);
	char *(*stable_name)(const char *filename);
	/* image_co_same_file(); on a worker. NULL: all names are different. */
	bool (*is_same)(const char *a, const char *b);
	/*
	 * Creates the file or, with an exclusive lock, truncates an existing one, and adds it to
	 * @begun. NULL: the bottom does not support creation.
	 */
	int (*co_create)(const char *filename, const struct bottom_create_opts *opts,
			 struct image_begun *begun, GError **err);
	/* For image_begun_abandon(); see there. */
	void (*abandon)(const struct image_begun_file *begun, bool may_wipe);
};

/* What a write of zeroes becomes. */
enum image_detect_zeroes {
	IMAGE_DETECT_ZEROES_OFF,
	IMAGE_DETECT_ZEROES_ON,	   /* a request to write zeroes */
	IMAGE_DETECT_ZEROES_UNMAP, /* and it may free the space */
};

struct image {
	/* Members used by every request come first, in as few cache lines as possible. */
	const struct image_ops *ops; /* part of @format or of @bottom */
	void *opaque;		     /* the format's own */
	struct image *file;	     /* owned; NULL for a bottom node */
	_Atomic uint64_t size;
	/* For image_co_event(); NULL: it ignores events. */
	void (*co_event)(struct image *img, enum image_event event);
	unsigned flags; /* IMAGE_* it was opened with */
	enum image_detect_zeroes detect_zeroes;
	struct image_limits limits;
	bool grows; /* as of its ops */
	/*
	 * Requests aligned to request_alignment take it for reading, a write that needs
	 * read-modify-write takes it for writing. Unused if request_alignment is 1.
	 */
	struct co_rwlock *rmw_lock;

	const struct format_ops *format; /* never NULL; empty for a bottom node */
	const struct bottom_ops *bottom; /* never NULL; empty for a format node */
	char *filename;
	struct node_options *options; /* its own, without those of nodes below; NULL: none */
	struct image *data_file;      /* the format's; NULL: data is in @file */
	struct image *backing;	      /* owned; NULL if none */
	char *backing_filename;	      /* as written in the image; NULL if none */
	char *backing_format;	      /* as written in the image; NULL if none */
	/* The user's, for the backing file, in place of what is written in the image. */
	struct node_options *backing_options;
	bool backing_unwanted; /* the user wants none */
	struct file_id id;     /* for a bottom node: the open file */
	bool has_owner;	       /* for a bottom node: image_file_owner() */
	uid_t owner;
	int64_t changed_ns; /* for a bottom node: image_file_changed_ns() */
	/* For a bottom node: its last byte was data, when it was opened. False: unknown. */
	bool ended_with_data;
	bool was_probed; /* for a format node: the format was not specified */
	/* For a raw node: the driver of the bottom below it, if only that was specified. */
	const char *bare_driver;
	bool is_below; /* another format is on top of it */
	bool is_bdev;  /* for a bottom node: a block device, or of fixed size like one */
	bool unlocked; /* for a bottom node: locks are not supported, and --no-lock was not given */
	struct image_memory *memory;  /* the chain's; NULL for a bottom node */
	struct image_share *share;    /* other chains may have it, too; NULL: this one alone */
	_Atomic unsigned users;	      /* image_begin_use() */
	_Atomic uint64_t patience_ns; /* image_set_patience() */
	_Atomic bool throttle_taken;  /* image_take_throttle() */
};

/* The image now ends at @end or later; other loops may grow it at the same time. */
static inline void image_grow(struct image *img, uint64_t end)
{
	uint64_t size = atomic_load(&img->size);

	while (size < end && !atomic_compare_exchange_weak(&img->size, &size, end))
		;
}

/*
 * For a format that appends to its file, before its first write: space may be allocated ahead. The
 * file can then be longer than image_size() says while it is open, and reads as zeroes there.
 * Returns whether that can happen; if so, it may have happened in a process that was killed, and
 * nobody else writes to the file. Not where a filter in between allocates ahead by itself.
 */
bool image_grow_ahead(struct image *file);

/* Space is allocated ahead by at most this much, and so a file can be that much too long. */
#define IMAGE_MAX_AHEAD (64ull << 20)

/*
 * Counts memory that lives as long as the image and whose size an image determines, before a format
 * allocates it. -EFBIG: it exceeds what is left; @err, which may be NULL, names @what. At close,
 * memory need not be put back.
 */
int image_memory_take(const struct image *img, uint64_t bytes, const char *what, GError **err);
/* The same where failing is impossible, or where memory that was taken moves to another place. */
void image_memory_count(const struct image *img, uint64_t bytes);
void image_memory_put(const struct image *img, uint64_t bytes);
uint64_t image_memory_left(const struct image *img);
/* A cache whose size is flexible takes at most this fraction of what is left. */
#define IMAGE_CACHE_SHARE 8

/* Pairs of image_info.specific. */
void image_info_add_string(GVariantBuilder *pairs, const char *name, const char *value);
void image_info_add_number(GVariantBuilder *pairs, const char *name, uint64_t value);
void image_info_add_bool(GVariantBuilder *pairs, const char *name, bool value);

extern const struct bottom_ops image_file_bottom;
extern const struct bottom_ops image_null_bottom;
#ifdef HAVE_LIBNBD
extern const struct bottom_ops image_nbd_bottom;
#endif
extern const struct format_ops image_raw_format;
extern const struct format_ops image_qcow2_format;
extern const struct format_ops image_copy_on_read_filter;
extern const struct format_ops image_blkdebug_filter;
extern const struct format_ops image_blkverify_filter;
extern const struct format_ops image_compress_filter;
extern const struct format_ops image_preallocate_filter;
extern const struct format_ops image_throttle_filter;

/* For a filter: writes zeroes through its own co_pwritev. */
int image_co_zero_by_data(struct image *img, uint64_t off, uint64_t bytes);

/*
 * Creates a bottom node with @ops, for image_co_open_on(). Sets @opaque, then calls ops->co_open.
 */
int image_co_new_bottom(const struct bottom_ops *ops, const char *filename, unsigned flags,
			void *opaque, struct image **ret_img, GError **err);

/*
 * Creates a node with @ops on @file, which it owns from now on, even on failure, for
 * image_co_open_on(): a filter, whose format neither a file name nor a magic number implies.
 */
int image_co_new_format(const struct format_ops *ops, struct image *file, unsigned flags,
			struct image **ret_img, GError **err);

/*
 * For a format with a backing file: reads through the chain from @img (NULL: none) down, with
 * zeroes beyond the end of a layer. Walks down the chain instead of letting each layer call the
 * next, because a stack cannot hold the longest chain.
 */
int image_co_preadv_chain(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

#endif
