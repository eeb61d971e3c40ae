/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image nodes: the interface through which everything else uses a disk image.
 *
 * An image is a tree of nodes: a format node (qcow2, raw) on a `file` node and, if it has one, on
 * its backing file, the image below it. All calls here are the checked entry: they refuse requests
 * that are out of range, not allowed on a read-only image or not implemented, and align requests as
 * the node requires. Nothing else calls the ops of a format (image_ops.h).
 *
 * Threads: a node may be used from any number of loops at the same time, from the return of
 * image_co_open() until the call of image_co_close(); one coroutine calls these two, with no
 * request in flight. Functions with _co_ need a coroutine, the others do not.
 *
 * Units: offsets and lengths are bytes. Results: 0 or -errno; a request completes as a whole or
 * fails; if it failed, any part of its range may have been done. Functions with a GError set it if
 * and only if they fail.
 */
#ifndef UBD_IMAGE_H
#define UBD_IMAGE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "dirty_bits.h"
#include "iobuf.h"
#include "policy.h"

struct image;
struct image_ops;
struct bottom_ops;
struct image_option;
struct node_options;
struct throttle_group;

/*
 * ---- names ----
 *
 * A file name may also be that of a graph of nodes: json:{"driver": "qcow2", "file": {...}}, with
 * the options that ubd-options(7) lists.
 */

/*
 * The name of the graph described by an option list ("driver=qcow2,file.filename=a") and, unless it
 * is NULL, a file name; the list takes precedence. NULL, with @err set, if either is invalid.
 * The caller frees it.
 */
char *image_name_from_options(const char *list, const char *filename, GError **err);

/*
 * The name for reopening @img, which was opened as @name, with changes to the
 * options of its nodes ("lazy-refcounts=on,backing.discard=ignore"). NULL, with @err set, if one
 * cannot be changed while an image is open. The caller frees it.
 */
char *image_name_for_reopen(const struct image *img, const char *name, const char *changes,
			    GError **err);

/* ---- open and close ---- */

enum image_open_flags {
	IMAGE_RDWR = 1 << 0,
	/* O_DIRECT; falls back to buffered I/O if the file system does not support it. */
	IMAGE_DIRECT = 1 << 1,
	/* Do not open the backing file; its data reads as zeroes. */
	IMAGE_NO_BACKING = 1 << 2,
	/* Take no image locks, and ignore those of others (read-only; qemu-img's -U). */
	IMAGE_FORCE_SHARE = 1 << 3,
	/* Return discarded space to the file system (otherwise discards are ignored). */
	IMAGE_UNMAP = 1 << 4,
	/* Completed writes need not survive: flush does nothing (cache=unsafe, for convert). */
	IMAGE_NO_FLUSH = 1 << 5,
	/* For `check`: open a damaged image if it can be read at all. Read-only. */
	IMAGE_FOR_CHECK = 1 << 6,
	/*
	 * For a repair, with IMAGE_FOR_CHECK: open the file for writing, so that image_co_repair()
	 * can write to it. The image is read-only for everything else.
	 */
	IMAGE_FOR_REPAIR = 1 << 7,
	/* Do not open an external data file; its data reads as zeroes. Read-only. */
	IMAGE_NO_DATA_FILE = 1 << 8,
	/*
	 * For `info`: also open images that can be described but not read, such as encrypted images
	 * and those of other programs. Every request is refused (-EPERM). Read-only.
	 */
	IMAGE_INFO_ONLY = 1 << 9,
	/* Also open an image that was created unfinished. */
	IMAGE_UNFINISHED = 1 << 10,
	/* Let others write to the image meanwhile, if its format allows that (raw). Read-only. */
	IMAGE_BEAR_WRITERS = 1 << 11,
	/*
	 * Reads copy data from the backing file to the image (but not the edges of an unaligned
	 * write). With IMAGE_RDWR.
	 */
	IMAGE_COPY_ON_READ = 1 << 12,
	/*
	 * Large amounts of data will be written and then flushed: let the kernel write it back
	 * meanwhile, so that the flush takes less time.
	 */
	IMAGE_WRITE_BEHIND = 1 << 13,
	/* Also write if the file system does not support locks, without a warning. */
	IMAGE_WRITE_UNLOCKED = 1 << 14,
};

/*
 * Sets IMAGE_WRITE_UNLOCKED for all images that the program opens or creates. Call it before the
 * first one.
 */
void image_write_unlocked(void);

/*
 * Backing files shared by several images, each opened once. One loop opens and closes these
 * images. All images must be closed before it is freed; NULL is fine.
 */
struct image_shared *image_shared_new(void);
void image_shared_free(struct image_shared *shared);

struct image_open_opts {
	/*
	 * NULL: probe the header; raw if none matches. Such a raw image refuses (-EPERM) writes of
	 * another format's header to its first sector. A file of another program (a disk of another
	 * hypervisor, an archive) is refused (-EMEDIUMTYPE).
	 */
	const char *format;
	unsigned flags;	       /* IMAGE_* */
	uint64_t cache_bytes;  /* metadata cache of each format node; 0: its default */
	uint64_t memory_limit; /* of all nodes of the chain; 0: that of image_set_memory_limit() */
	/*
	 * Open the contents of this snapshot instead of the current ones, read-only: an ID or, if
	 * no snapshot has that ID, a name. If NULL: the snapshot with this ID and name, one of
	 * which may be NULL; if both are NULL: no snapshot.
	 */
	const char *snapshot;
	const char *snapshot_id, *snapshot_name;
	/* Called with a warning of one line, without a newline; may be NULL. */
	void (*warn)(const char *line);
	/*
	 * The external data file of the top image, a bottom node. The image owns it from now on,
	 * even on failure. NULL: the file that the image names.
	 */
	struct image *data_file;
	/*
	 * For image_co_open_on(): the backing file, an open image, in place of the file that the
	 * image names. The image owns it from now on, even on failure, and shares its memory limit.
	 * NULL: the file that the image names.
	 */
	struct image *backing;
	/* Which files this image and those below it may name; NULL: any file (see policy.h). */
	const struct image_policy *policy;
	/*
	 * The image that names this one as its backing file, so that the policy applies; or NULL.
	 */
	const char *named_by;
	/*
	 * Called when the file of the top image is open and locked, before a format reads from it
	 * or changes it; an error aborts the open. @file is the bottom node. May be NULL.
	 */
	int (*co_claim)(void *arg, struct image *file, GError **err);
	void *claim_arg;
	/*
	 * Shares backing files with other images of this process; NULL: opens its own. It outlives
	 * the images.
	 */
	struct image_shared *shared;
	/* ---- set by formats/ ---- */
	const struct node_options *node; /* the options given for the node */
	char **share;			 /* its image_share_key(); NULL: it is not shared */
	bool is_below;			 /* another format is on top of it */
	bool is_data_file;		 /* it is one, or is below one */
	/* The driver of a bottom node that was opened as an image: raw is put on top of it. */
	const char *bare_driver;
	const struct named_file *named_file; /* for a bottom node: the permission */
	const int *fd; /* for a bottom node: the open file; NULL: opened by its name */
};

/*
 * Limits the memory that an image and its backing files may use for tables, caches and bitmaps; an
 * image that needs more is refused (EFBIG). Applies to images opened from now on.
 */
#define IMAGE_DEFAULT_MEMORY_LIMIT (512ull << 20)
void image_set_memory_limit(uint64_t bytes);

/* Maximum length of a backing chain, including the top image. */
#define IMAGE_MAX_CHAIN 200

/*
 * Opens an image with its whole backing chain (read-only below the top image) and locks it. @opts
 * may be NULL: read-only, with probing. Errors: ENOENT, EACCES..., EINVAL (not a valid image, or a
 * backing file that is refused), ENOTSUP (a feature that is not implemented, named), EBUSY (locked
 * by another process), ELOOP (a cycle, or a chain that is too long).
 */
int image_co_open(const char *filename, const struct image_open_opts *opts, struct image **ret_img,
		  GError **err);

/* Whether an open with IMAGE_RDWR failed with an error that a read-only open may avoid. */
bool image_is_write_refusal(int error);

/*
 * Opens and locks the bottom node for the file name, without a format on it, for
 * image_co_open_on(). @flags are IMAGE_*.
 */
int image_co_open_bottom(const char *filename, unsigned flags, struct image **ret_img,
			 GError **err);

/*
 * The same on a file that is already open, without locks: nobody else may know it. @fd still
 * belongs to the caller. @name is for messages.
 */
int image_co_open_fd(int fd, const char *name, unsigned flags, struct image **ret_img,
		     GError **err);

/*
 * Like image_co_open(), on a node that is already open. The new node owns it from now on, even on
 * failure. For tests that use their own bottom node.
 */
int image_co_open_on(struct image *file, const struct image_open_opts *opts, struct image **ret_img,
		     GError **err);

/*
 * Flushes, writes all metadata, drops the locks and frees the node and those below it, whatever
 * happens. Returns the first error. NULL is fine.
 */
int image_co_close(struct image *img);

/*
 * ---- properties ----
 */

/*
 * The name of its file or, if that is not enough to open the image, json:{...}. Owned by the node.
 */
const char *image_filename(const struct image *img);
const char *image_format(const struct image *img); /* "qcow2", "raw", ... */
uint64_t image_size(const struct image *img);	   /* guest-visible size */
bool image_is_read_only(const struct image *img);
/* The file is the disk, so anyone who can write to the disk can write another format's header. */
bool image_is_headerless(const struct image *img);
/* The format was probed, not specified. */
bool image_was_probed(const struct image *img);
/* Always reads as zeroes, whatever was written to it (null). */
bool image_forgets(const struct image *img);
struct image *image_backing(const struct image *img); /* NULL if none */
struct image *image_file(const struct image *img);    /* the node below; NULL for a bottom node */
/* The image below the filters that the user has put on it; @img itself if there are none. */
struct image *image_below_filters(struct image *img);
/* Where the guest's data is: image_file() or an external data file. */
struct image *image_data_file(const struct image *img);

/* Identifies a file or block device of the host, whatever its name. */
struct file_id {
	bool known;
	uint64_t dev;
	uint64_t ino;
};

bool file_id_equal(const struct file_id *a, const struct file_id *b);
/* By file name; unknown if there is no such file, or if the name does not name a file. */
struct file_id image_co_file_id(const char *filename);
/* Whether two names refer to the same file, even if it does not exist yet. */
bool image_co_same_file(const char *a, const char *b);
/* The identity of the image's file. */
struct file_id image_file_id(const struct image *img);
/*
 * The owner of that file when it was opened, even if it was renamed since. False: there is no file,
 * or it is a block device or on another machine.
 */
bool image_file_owner(const struct image *img, uid_t *ret_uid);
/*
 * The time of the last change of any kind to that file before this program locked it, in ns of
 * CLOCK_REALTIME. 0 if unknown: for block devices, and if the clock may be another machine's.
 */
int64_t image_file_changed_ns(const struct image *img);
/* Whether the image or one below it, including their data files, uses that file. */
bool image_chain_has_file(const struct image *img, const struct file_id *id);
/* Whether the image's file or its data file is a block device. */
bool image_is_on_block_device(const struct image *img);
/*
 * A name that leads to the same image from any folder and after a restart; NULL if there is none.
 * The caller frees it. Blocks.
 */
char *image_stable_name(const char *filename);

struct image_limits {
	uint32_t request_alignment; /* aligned requests need no read-modify-write; >= 1 */
	uint32_t memory_alignment;  /* aligned buffers need no copy; >= 1 */
	uint32_t cluster_size;	    /* best unit of allocation and discard; 0 if none */
	bool direct;		    /* the bottom really uses O_DIRECT */
	uint32_t zero_alignment;    /* best unit of writing zeroes; 0 if none */
};

const struct image_limits *image_limits(const struct image *img);

/* For `info`, as text and JSON; strings that do not apply are NULL. */
struct image_info {
	const char *format;
	uint64_t virtual_size;
	uint64_t cluster_size; /* 0 if none */
	/* Offset of the virtual machine state, beyond the disk; 0: not supported. */
	uint64_t vm_state_off;
	bool encrypted;
	bool dirty;
	bool can_be_dirty;	     /* neither null nor NBD can */
	char *backing_filename;	     /* as written in the image */
	char *full_backing_filename; /* resolved against the image's folder */
	char *backing_format;	     /* as written in the image */
	/*
	 * Format-specific information, or NULL: a dictionary ("a{sv}") in display order, with
	 * QEMU's names. Values are bytestrings (which need not be UTF-8), booleans, uint64, lists
	 * ("av") and dictionaries.
	 */
	GVariant *specific;
};

/* Fills *ret_info; free it with image_info_clear(). */
int image_co_get_info(struct image *img, struct image_info *ret_info, GError **err);
void image_info_clear(struct image_info *info);

/* Bytes that the file occupies on the host, or -errno. */
int64_t image_co_allocated_bytes(struct image *img);

/* Statistics of the formats of a chain since it was opened. */
struct image_stats {
	uint64_t cache_bytes; /* size of the metadata caches; 0: there is none */
	uint64_t cache_hits, cache_misses;
	uint64_t allocated_bytes; /* clusters that were allocated ... */
	uint64_t freed_bytes;	  /* ... and freed, for example by discards */
};

/* Any thread. The numbers need not be from the same moment. */
struct image_stats image_get_stats(const struct image *img);

/*
 * Count users, so that an idle image, and each image below it, can free cache memory. Layers shared
 * with other chains also count the users of those. Using the image without being counted is safe,
 * but requests may have to read again what was freed. Any thread, while the image stays open.
 */
void image_begin_use(struct image *img);
void image_end_use(struct image *img);

/*
 * How long a request may wait in a `throttle` filter before it continues regardless of the limits:
 * forever by default, and not at all (0) when requests must end. Also applies to requests that
 * already wait. A layer of several chains has the largest of their values. Loop of open and close.
 */
#define IMAGE_PATIENT UINT64_MAX
void image_set_patience(struct image *img, uint64_t ns);

/*
 * The limits of @img itself, if it is a `throttle` filter, for a caller that makes its requests
 * wait before it submits them, when they have no memory yet: from now on, they do not wait in the
 * node. NULL: it has none. Loop of open and close, as the next one.
 */
struct throttle_group *image_take_throttle(struct image *img);
/* Requests wait in the node again. */
void image_give_back_throttle(struct image *img);

/* Problems with a file of the image; they stay set until the image is closed. */
enum image_trouble {
	/* A flush failed: acknowledged data may be lost, and no later flush succeeds. */
	IMAGE_TROUBLE_LOST = 1 << 0,
	/* Another program has truncated it: reads of the missing part fail. */
	IMAGE_TROUBLE_CUT = 1 << 1,
	/* It was deleted: its data is lost when the last program closes it. */
	IMAGE_TROUBLE_DELETED = 1 << 2,
};

/* The known troubles of all files of the chain (enum image_trouble). Any thread; never waits. */
unsigned image_troubles(const struct image *img);
/* The first file with this trouble, or NULL. The name belongs to its node. */
const char *image_troubled_file(const struct image *img, enum image_trouble trouble);

/*
 * Checks whether files were truncated or deleted, which requests may not notice, and how much
 * space is left. Blocks while the file system does not respond. Any thread.
 */
void image_inspect(struct image *img);

/* Space where data is written; total 0: unknown. */
struct image_space {
	uint64_t free_bytes, total_bytes;
};

/*
 * The space in the file system of the image's file or of its data file, whichever has less left,
 * as of the last image_inspect(); for a block device, the part beyond everything that was
 * written while it was open. Any thread; never waits.
 */
struct image_space image_space(const struct image *img);

/*
 * ---- requests ----
 *
 * -EIO: beyond the end of the image. -EPERM: it is read-only. -EINVAL: unknown flags. Requests of 0
 * bytes do nothing. All other errors come from below.
 */

enum image_req_flags {
	IMAGE_REQ_FUA = 1 << 0,	      /* durable before it completes */
	IMAGE_REQ_MAY_UNMAP = 1 << 1, /* write zeroes: may free space */
	/* write zeroes: -ENOTSUP instead of writing a buffer of zeroes */
	IMAGE_REQ_NO_FALLBACK = 1 << 2,
	/*
	 * write zeroes: the image itself records them, even if there is no data below, so that they
	 * also hide the data of a future backing file
	 */
	IMAGE_REQ_HIDE = 1 << 3,
};

int image_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
int image_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		     unsigned flags);
/* The same with contiguous memory. */
int image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf);
int image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
		    unsigned flags);

/*
 * Writes whole clusters (the last one of an image may be shorter), compressed if that makes them
 * smaller. -ENOTSUP if the image does not support compression, -EINVAL for parts of clusters.
 */
int image_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

/*
 * The virtual machine state, which is stored in an image in addition to the disk, with separate
 * offsets. Unwritten parts read as zeroes. -ENOTSUP: the format does not support it.
 */
int image_co_read_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
int image_co_write_vm_state(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

/*
 * Copies data from offset @from_off of a file: @from is the node of that file, as for
 * IMAGE_EXTENT_OFFSET. The kernel copies the data, or lets both files share it; with
 * IMAGE_COPY_SHARE it only shares, in a time that hardly depends on the amount. -ENOTSUP
 * or another error if that is impossible here; the data can still be read and written.
 */
#define IMAGE_COPY_SHARE 1u
int image_co_copy_range(struct image *img, uint64_t off, struct image *from, uint64_t from_off,
			uint64_t bytes, unsigned flags);

/*
 * Copies those clusters of a range that come from the backing file to the image, except where a
 * concurrent write has allocated them. Does nothing without a backing file. The disk's contents and
 * its dirty bitmaps do not change.
 */
int image_co_copy_up(struct image *img, uint64_t off, uint64_t bytes);
/*
 * The same on a best-effort basis, for reads: errors, such as a lack of space, are ignored, and the
 * next read tries again.
 */
void image_co_try_copy_up(struct image *img, uint64_t off, uint64_t bytes);

/* Makes everything acknowledged before durable (C7). */
int image_co_flush(struct image *img);

/*
 * Writes metadata of a range that is only in memory to the files, so that data acknowledged before
 * survives the end of this process, but not a power cut. Costs next to nothing if there is none,
 * whatever is in memory for other ranges. @bytes may reach beyond the end.
 */
int image_co_write_back(struct image *img, uint64_t off, uint64_t bytes);

/*
 * Ends IMAGE_NO_FLUSH: the next flush or close makes everything that was written durable. No
 * request may be in flight.
 */
void image_end_no_flush(struct image *img);

/* Advice: the range is no longer needed. Whole clusters in it then read as zeroes or as before. */
int image_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes);

/* Afterwards the range reads as zeroes. */
int image_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);

enum image_preallocation {
	IMAGE_PREALLOC_OFF,
	IMAGE_PREALLOC_METADATA, /* all tables, but no space for data */
	IMAGE_PREALLOC_FALLOC,	 /* space is reserved */
	IMAGE_PREALLOC_FULL,	 /* space is written */
};

/* Parses a mode's name ("off", "metadata", "falloc", "full"); false if it is unknown. */
bool image_parse_preallocation(const char *name, enum image_preallocation *ret_mode);

/*
 * Sets the size. No request may be in flight, except while the image grows. The added part reads as
 * zeroes, even above a longer backing file, and is preallocated as @mode says; data beyond the new
 * end is lost. The change is durable on return. On failure, the size may be anything between the
 * old and the new one. -ENOTSUP: the format, or something in the image, does not allow it.
 */
int image_co_resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err);

/*
 * Grows the image after another program has extended the file or block device; requests may be in
 * flight. The image never shrinks. -ENOTSUP: the file does not determine the image's size.
 */
int image_co_refresh_size(struct image *img);

/*
 * Like image_co_resize(), without preallocation; for bottom nodes and raw, durable with the next
 * flush.
 */
int image_co_truncate(struct image *img, uint64_t size);

/*
 * Changes options of the image (name -> value, both char *; a size in bytes). No request may be in
 * flight. A power cut or an error at any time leaves an image with the same contents, and some of
 * the changes may be done. @progress, which may be NULL, is called during long steps. -ENOTSUP:
 * something in the image does not allow it; -EINVAL: unknown option or value.
 */
int image_co_amend(struct image *img, GHashTable *options,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *progress_arg,
		   GError **err);

/* Like image_create_options(), for amend. */
const struct image_option *image_amend_options(const char *format);

enum image_extent_flags {
	IMAGE_EXTENT_DATA = 1 << 0,	 /* reads need I/O on this layer */
	IMAGE_EXTENT_ZERO = 1 << 1,	 /* reads as zeroes */
	IMAGE_EXTENT_ALLOCATED = 1 << 2, /* comes from this layer, not from its backing file */
	IMAGE_EXTENT_OFFSET = 1 << 3,	 /* host_off is the data's offset in @file */
	IMAGE_EXTENT_COMPRESSED = 1 << 4,
};

struct image_extent {
	uint64_t bytes; /* how far it extends from the requested offset; > 0 */
	unsigned flags; /* IMAGE_EXTENT_* */
	uint64_t host_off;
	struct image *file;  /* with IMAGE_EXTENT_OFFSET: where the data is */
	struct image *layer; /* the format node that it comes from; NULL: none */
	unsigned depth;	     /* of that layer; 0 is the image itself */
};

/* The state of the first part of a range (not empty), in this layer alone ... */
int image_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			  struct image_extent *ret_extent);
/* ... and through the chain. Everything beyond the end of a short backing file is zero. */
int image_co_block_status_chain(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent);

/*
 * ---- breakpoints ----
 *
 * For tests: a blkdebug node below the image suspends requests at events. -ENOTSUP: there
 * is no such node.
 */

/* The next request at this event is suspended there. -ENOENT: there is no such event. */
int image_set_break(struct image *img, const char *event, const char *tag);
/* Also resumes suspended requests. NULL: all tags. -ENOENT: it was not set. */
int image_remove_break(struct image *img, const char *tag);
/* Lets one request continue. -ENOENT: none is suspended. */
int image_resume(struct image *img, const char *tag);
/* Waits until a request is suspended. One coroutine at a time. */
int image_co_wait_break(struct image *img, const char *tag);

/*
 * ---- dirty bitmaps ----
 *
 * An image may have bitmaps that record writes, for backups: while a bitmap is
 * enabled, it records every change of the disk. Bitmaps are stored in the image. A bitmap that was
 * not closed properly is inconsistent: it can only be removed.
 */

struct image_bitmap {
	char *name;
	uint64_t granularity; /* bytes of the disk per bit */
	bool enabled;
	bool inconsistent;
};

enum image_bitmap_action {
	IMAGE_BITMAP_ADD, /* an empty one, enabled */
	IMAGE_BITMAP_REMOVE,
	IMAGE_BITMAP_CLEAR,
	IMAGE_BITMAP_ENABLE,
	IMAGE_BITMAP_DISABLE,
};

/* Whether the format supports bitmaps; if not, the functions below return -ENOTSUP. */
bool image_has_bitmaps(const struct image *img);
bool image_format_has_bitmaps(const char *format);
/* Whether a bitmap could be added: an old version of the format may not support them. */
bool image_can_hold_bitmaps(const struct image *img);

/* The bitmaps in order, struct image_bitmap *; the caller unrefs the list. */
int image_co_bitmap_list(struct image *img, GPtrArray **ret_list, GError **err);

/* Changes a bitmap, durably. @granularity is for ADD: 0 is the default. */
int image_co_bitmap_change(struct image *img, enum image_bitmap_action action, const char *name,
			   uint64_t granularity, GError **err);

/*
 * Merges a bitmap of @src, which may be the same image, into this one, durably. Both disks must
 * have the same size.
 */
int image_co_bitmap_merge(struct image *img, const char *name, struct image *src,
			  const char *src_name, GError **err);

/* The dirty bits. The caller frees them with dirty_bits_free(). */
int image_co_bitmap_load(struct image *img, const char *name, struct dirty_bits **ret_bits,
			 GError **err);

/* ---- create ---- */

struct image_option {
	const char *name;
	const char *type; /* "size", "str", "bool (on/off)", "num": for `-o help` */
	const char *help;
	/* The value that `create` shows if the option was not given; NULL: none. */
	const char *default_value;
};

/*
 * The files of a new image that is not complete yet. The code that began it must abandon them on
 * failure, or clear this on success. Initially zeroed.
 */
struct image_begun {
	const struct bottom_ops *bottom; /* creates the next file */
	/* Something may have been written to a block device. */
	bool wipe;
	/* A worker, which no signal interrupts, is about to create a file and add it. */
	_Atomic bool making;
	_Atomic unsigned nr;
	struct image_begun_file {
		char *filename;
		struct file_id id;
		bool made; /* it did not exist before */
		const struct bottom_ops *bottom;
	} files[2];
};

/*
 * Ensures that nothing that looks like an image is left: removes files that were created, truncates
 * those that existed before, and with @wipe zeroes the start of block devices. Blocks. Safe in a
 * signal handler; waits up to a second for a file that is being created.
 */
void image_begun_abandon(const struct image_begun *begun);
void image_begun_clear(struct image_begun *begun);

struct image_create_opts {
	uint64_t size;
	bool size_given;		   /* otherwise the size of the backing file */
	const char *backing_filename;	   /* as written to the image; NULL if none */
	const char *backing_format;	   /* NULL if none */
	bool backing_unchecked;		   /* do not open the backing file (-u) */
	GHashTable *options;		   /* name -> value, both char *; NULL if none */
	const struct image_policy *policy; /* for nodes below the new image; may be NULL */
	/*
	 * Open images whose files, including those below them, must not be overwritten, terminated
	 * by NULL; may be NULL.
	 */
	struct image *const *sources;
	/*
	 * Until image_co_finish() the image cannot be opened without IMAGE_UNFINISHED, if the
	 * format can record that in its header.
	 */
	bool unfinished;
	/* Receives the files of the new image; may be NULL. Empty after a failure. */
	struct image_begun *begun;
	/*
	 * Called when the options are complete and have the right types, and the backing file was
	 * found, before the format checks them and before a file is touched; may be NULL.
	 */
	void (*begin)(void *arg, uint64_t size);
	void *begin_arg;
};

/*
 * Creates an image file, or turns an existing file or block device into an image. On failure, a
 * file that was created is removed, and one that was truncated stays empty. Stores the size in
 * *ret_size unless that is NULL. Unknown options and values are refused. Error messages do not name
 * the image, and may have more than one line.
 */
int image_co_create(const char *filename, const char *format, const struct image_create_opts *opts,
		    uint64_t *ret_size, GError **err);

/*
 * Writes an image to @file, a bottom node that is open for writing and empty. The size must be
 * given, and the backing file is not opened.
 */
int image_co_create_on(struct image *file, const char *format, const struct image_create_opts *opts,
		       GError **err);

/* Bytes that the files of a new image take. */
struct image_measurement {
	uint64_t required;	  /* with the source's data */
	uint64_t fully_allocated; /* with data everywhere */
	bool has_bitmaps;	  /* source and format support bitmaps */
	uint64_t bitmaps;	  /* additional bytes for a copy of the source's bitmaps */
};

/*
 * Predicts the size of an image with these options, which must include the size, and with the
 * contents of @source, which may be NULL. The image may turn out smaller, but not larger.
 */
int image_co_measure(const char *format, const struct image_create_opts *opts, struct image *source,
		     struct image_measurement *ret_measurement, GError **err);

/*
 * Completes a new image after everything was written to it: one that was created unfinished becomes
 * an ordinary image, and its file is padded to whole sectors.
 */
int image_co_finish(struct image *img);

/*
 * Options of a format in the order in which `create` shows them, terminated by a NULL name; NULL if
 * the format is unknown or does not support creation.
 */
const struct image_option *image_create_options(const char *format);

/* The same for options of the file, valid with every format; the format's own take precedence. */
const struct image_option *image_file_create_options(void);

/* Whether such a table has an option of this name. */
bool image_has_option(const struct image_option *options, const char *name);

/* Whether the format exists and supports compressed data. */
bool image_format_can_compress(const char *format);

/*
 * Loads the code that compressing data takes, as its first use would. For a process that will no
 * longer be able to; nothing if there is no faster code than what is built in. Any thread; reads
 * files.
 */
void image_load_compression(void);

/* Whether the format exists and supports backing files. */
bool image_format_has_backing(const char *format);

/* The names of all formats, terminated by NULL. */
const char *const *image_formats(void);

/* ---- check ---- */

struct image_check_result {
	uint64_t corruptions;
	uint64_t leaks;
	uint64_t check_errors;	 /* not checked because of I/O errors */
	uint64_t image_end_off;	 /* end of the last cluster in use */
	uint64_t total_clusters; /* guest clusters */
	uint64_t allocated_clusters;
	uint64_t fragmented_clusters;
	uint64_t compressed_clusters;
	uint64_t corruptions_fixed; /* by image_co_repair(); not in corruptions and leaks */
	uint64_t leaks_fixed;
};

enum image_check_fix {
	IMAGE_CHECK_FIX_LEAKS = 1 << 0,
	IMAGE_CHECK_FIX_ERRORS = 1 << 1,
};

struct image_check_opts {
	unsigned fix; /* IMAGE_CHECK_FIX_* */
	/* Called with one line, without a newline, for each finding; may be NULL. */
	void (*report)(void *arg, const char *line);
	void *report_arg;
	/* Called to report progress; may be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

/*
 * Checks all metadata, and changes nothing. @report, which may be NULL, gets one line, without a
 * newline, for each finding. -ENOTSUP if the format does not support checks.
 */
int image_co_check(struct image *img, void (*report)(void *arg, const char *line), void *report_arg,
		   struct image_check_result *ret_result);

/*
 * ---- internal snapshots ----
 */

struct image_snapshot {
	char *id;
	char *name;
	uint64_t vm_state_size; /* bytes; 0: there is none */
	uint32_t date_sec;	/* since 1970 */
	uint32_t date_nsec;
	uint64_t vm_clock_nsec; /* how long the guest had been running */
	uint64_t icount;	/* UINT64_MAX: not known */
	uint64_t disk_size;
};

/* Whether the format supports snapshots; if not, the functions that change them return -ENOTSUP. */
bool image_has_snapshots(const struct image *img);

/*
 * A GArray of struct image_snapshot, empty if the format does not support snapshots;
 * g_array_unref() it.
 */
int image_co_snapshot_list(struct image *img, GArray **ret_list);

/*
 * Keep the image's contents under a name (and a generated ID), revert to them, and delete them. All
 * or nothing, whatever happens. They wait for requests in flight, and new requests wait for them.
 * -ENOTSUP: the format does not support snapshots; -ENOENT; -EOVERFLOW: a refcount is at its
 * maximum; -EUCLEAN: the image is corrupt.
 *
 * Names need not be unique; the first match is used. @which may also be an ID. Reverting may change
 * the size of the image.
 */
int image_co_snapshot_create(struct image *img, const char *name, GError **err);
int image_co_snapshot_apply(struct image *img, const char *which, GError **err);
int image_co_snapshot_delete(struct image *img, const char *name, GError **err);

/*
 * Full form of image_co_check(): can also repair. @opts->fix needs an image opened with
 * IMAGE_FOR_REPAIR (otherwise -EPERM). A repair can be interrupted at any instant: the image is
 * then no worse, and the repair can be repeated.
 */
int image_co_repair(struct image *img, const struct image_check_opts *opts,
		    struct image_check_result *ret_result);

/*
 * Resolves a backing file name as written in @image_filename: absolute names stay as they are,
 * others are relative to the image's folder. The caller frees it.
 */
char *image_resolve_backing(const char *image_filename, const char *backing_filename);

#endif
