/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image nodes: how everybody else uses a disk image.
 *
 * An image is a tree of nodes: a format node (qcow2, raw) on a `file` node,
 * and, where it has one, on the image below it, its backing file. All calls
 * here are the checked entry: they refuse what is out of range, read-only or
 * not implemented, and cut requests to the alignment the node needs. The ops of
 * a format (image_ops.h) are called by nobody else.
 *
 * Threads: a node may be used from any number of loops at the same time once
 * image_co_open() has returned and until image_co_close() is called; those two
 * are called by one coroutine, with no request in flight. Functions with _co_
 * need a coroutine, the others do not.
 *
 * Units: offsets and lengths are bytes. Results: 0 or -errno; a request is done
 * in whole or fails, and when it failed, any part of its range may have been
 * done. Functions with a GError set it exactly when they fail.
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
struct image_option;

/* ---- open and close ---- */

enum image_open_flags {
	IMAGE_RDWR = 1 << 0,
	/* O_DIRECT; falls back to buffered I/O where the file system has none. */
	IMAGE_DIRECT = 1 << 1,
	/* Do not open the backing file; what it would give reads as zeroes. */
	IMAGE_NO_BACKING = 1 << 2,
	/* Take no image locks and ignore those of others (read-only; -U of qemu-img). */
	IMAGE_FORCE_SHARE = 1 << 3,
	/* Give discarded space back to the file system (else discards are ignored). */
	IMAGE_UNMAP = 1 << 4,
	/* Completed writes need not survive: flush does nothing (cache=unsafe, for convert). */
	IMAGE_NO_FLUSH = 1 << 5,
	/* For `check`: open what is damaged as far as it can be read. Read-only. */
	IMAGE_FOR_CHECK = 1 << 6,
	/*
	 * For a repair, with IMAGE_FOR_CHECK: the file is opened for writing, so that
	 * image_co_repair() can. The image is read-only for everything else.
	 */
	IMAGE_FOR_REPAIR = 1 << 7,
	/* Do not open an external data file; what it would give reads as zeroes. Read-only. */
	IMAGE_NO_DATA_FILE = 1 << 8,
	/*
	 * For `info`: open also what can be told about but not read, as encrypted images and those
	 * of other programs. Every request is refused (-EPERM). Read-only.
	 */
	IMAGE_INFO_ONLY = 1 << 9,
	/* Open an image that was created unfinished, too. */
	IMAGE_UNFINISHED = 1 << 10,
	/* Others may write to the image meanwhile, if its format bears it (raw). Read-only. */
	IMAGE_BEAR_WRITERS = 1 << 11,
};

/*
 * From now on images are written to where the file system has no locks, too, and nothing is said of
 * that. Before the first image is opened.
 */
void image_write_unlocked(void);

struct image_open_opts {
	/*
	 * NULL: by header, raw if none matches. Such a raw image refuses (-EPERM)
	 * to have the header of another format written to its first sector. A file of another
	 * program (a disk of another hypervisor, an archive) is refused (-EMEDIUMTYPE).
	 */
	const char *format;
	unsigned flags;	       /* IMAGE_* */
	uint64_t cache_bytes;  /* metadata cache of each format node; 0: its default */
	uint64_t memory_limit; /* of all nodes of the chain; 0: that of image_set_memory_limit() */
	/*
	 * The contents of this snapshot instead of the present ones, read-only: by ID or, if
	 * there is none, by name. NULL: by these two, one of which may be NULL; both: no snapshot.
	 */
	const char *snapshot;
	const char *snapshot_id, *snapshot_name;
	/* Gets a line, without a newline, about what people should know; may be NULL. */
	void (*warn)(const char *line);
	/*
	 * The external data file of the top image, a bottom node that the image owns from
	 * now on, also on failure; NULL: the one that the image names.
	 */
	struct image *data_file;
	/* What this image and those below it may name; NULL: any file of policy.h. */
	const struct image_policy *policy;
	/* The image that has this one as its backing file, so that the policy holds; or NULL. */
	const char *named_by;
	/* Of a bottom node, set by bottom.c: the same for its file. */
	const struct named_file *named_file;
};

/*
 * What an image and its backing files may take in memory for tables, caches and bitmaps; what
 * needs more is refused (EFBIG). Sets it for images that are opened from now on.
 */
#define IMAGE_DEFAULT_MEMORY_LIMIT (512ull << 20)
void image_set_memory_limit(uint64_t bytes);

/* The backing chain is at most this long, the top image included. */
#define IMAGE_MAX_CHAIN 200

/*
 * Opens an image with its whole backing chain (read-only below the top one) and
 * locks it. @opts may be NULL: read-only, by header.
 * Errors: ENOENT, EACCES..., EINVAL (not a valid image), ENOTSUP (a feature
 * that is not implemented, named), EBUSY (locked by somebody), ELOOP (a cycle or
 * too long a chain).
 */
int image_co_open(const char *filename, const struct image_open_opts *opts, struct image **ret_img,
		  GError **err);

/*
 * Opens the bottom node that the file name asks for, and locks it, but no format on it: to be given
 * to image_co_open_on(). @flags are IMAGE_*.
 */
int image_co_open_bottom(const char *filename, unsigned flags, struct image **ret_img,
			 GError **err);

/*
 * The same on a node that is open already, and which the new one owns from
 * now on, also on failure: for tests that put a node of their own at the bottom.
 */
int image_co_open_on(struct image *file, const struct image_open_opts *opts, struct image **ret_img,
		     GError **err);

/*
 * Flushes, writes all metadata, drops the locks and frees the node and those
 * below it, whatever happens. The first error, if any. NULL is fine.
 */
int image_co_close(struct image *img);

/* ---- what it is ---- */

const char *image_filename(const struct image *img); /* owned by the node */
const char *image_format(const struct image *img);   /* "qcow2", "raw", ... */
uint64_t image_size(const struct image *img);	     /* guest-visible size */
bool image_is_read_only(const struct image *img);
struct image *image_backing(const struct image *img); /* NULL if none */
struct image *image_file(const struct image *img);    /* the node below, NULL for a bottom node */
/* The node in which the data of IMAGE_EXTENT_OFFSET lie: image_file() or an external data file. */
struct image *image_data_file(const struct image *img);

/* Which file or block device of the host it is, whatever its name. */
struct file_id {
	bool known;
	uint64_t dev;
	uint64_t ino;
};

bool file_id_equal(const struct file_id *a, const struct file_id *b);
/* Of a file name; not known where there is no such file, or where a name is not one of a file. */
struct file_id image_co_file_id(const char *filename);
/* Of the file that the image is in. */
struct file_id image_file_id(const struct image *img);
/*
 * When that file was last changed before this program had it locked, by anybody and in any way, in
 * ns of CLOCK_REALTIME. 0 where it cannot be told: for block devices, and where the clock of
 * another machine may count.
 */
int64_t image_file_changed_ns(const struct image *img);
/* Whether the image or one below it, with their data files, is in that file. */
bool image_chain_has_file(const struct image *img, const struct file_id *id);
/* Whether the image's file or its data file is a block device. */
bool image_is_on_block_device(const struct image *img);
/*
 * A name that finds the same image from any folder and after a restart; NULL where there is none.
 * The caller frees it. Blocks.
 */
char *image_stable_name(const char *filename);

struct image_limits {
	uint32_t request_alignment; /* requests on a multiple need no read-modify-write; >= 1 */
	uint32_t memory_alignment;  /* buffers on a multiple need no copy; >= 1 */
	uint32_t cluster_size;	    /* best unit of allocation and discard; 0 if none */
	bool direct;		    /* the bottom really does O_DIRECT */
};

const struct image_limits *image_limits(const struct image *img);

/* For people and for JSON; strings are NULL where it does not apply. */
struct image_info {
	const char *format;
	uint64_t virtual_size;
	uint64_t cluster_size; /* 0 if none */
	bool encrypted;
	bool dirty;
	char *backing_filename;	     /* as written in the image */
	char *full_backing_filename; /* resolved against the image's folder */
	char *backing_format;	     /* as written in the image */
	/*
	 * What the format alone has to tell, NULL if nothing: a dictionary ("a{sv}") in the order
	 * in which it is shown, with QEMU's names. Values are bytestrings (which need not be
	 * UTF-8), booleans, uint64, lists ("av") and dictionaries.
	 */
	GVariant *specific;
};

/* Fills *ret_info; free it with image_info_clear(). */
int image_co_get_info(struct image *img, struct image_info *ret_info, GError **err);
void image_info_clear(struct image_info *info);

/* Bytes that the file takes on the host, or -errno. */
int64_t image_co_allocated_bytes(struct image *img);

/* What went wrong with a file of the image, from then on until it is closed. */
enum image_trouble {
	/* A flush failed: what was acknowledged before may be lost, and no later flush succeeds. */
	IMAGE_TROUBLE_LOST = 1 << 0,
	/* Somebody else has cut it: reads of what is gone fail. */
	IMAGE_TROUBLE_CUT = 1 << 1,
	/* It was deleted: what is written goes with the last program that has it open. */
	IMAGE_TROUBLE_DELETED = 1 << 2,
};

/* What is known of all files of the chain: enum image_trouble. Any thread; never waits. */
unsigned image_troubles(const struct image *img);
/* The first file that has this trouble, owned by its node; NULL: none has. */
const char *image_troubled_file(const struct image *img, enum image_trouble trouble);

/*
 * Looks whether files were cut or deleted, of which requests need not notice anything. Any thread
 * that may wait for a file system that does not answer.
 */
void image_inspect(struct image *img);

/*
 * ---- requests ----
 *
 * -EIO: beyond the end of the image. -EPERM: it is read-only. -EINVAL: unknown
 * flags. Requests of no bytes do nothing. Everything else comes from below.
 */

enum image_req_flags {
	IMAGE_REQ_FUA = 1 << 0,	      /* durable before it completes */
	IMAGE_REQ_MAY_UNMAP = 1 << 1, /* write zeroes: space may be given back */
	/* write zeroes: -ENOTSUP instead of writing a buffer of zeroes */
	IMAGE_REQ_NO_FALLBACK = 1 << 2,
};

int image_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);
int image_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
		     unsigned flags);
/* The same with flat memory. */
int image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf);
int image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
		    unsigned flags);

/*
 * Writes whole clusters (the last one of an image may be shorter), compressed where that makes
 * them smaller. -ENOTSUP where the image cannot hold them, -EINVAL for parts of clusters.
 */
int image_co_pwrite_compressed(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem);

/* All that was acknowledged before is durable (C7). */
int image_co_flush(struct image *img);

/*
 * All that was acknowledged before is in the files: it outlives this process, not a power cut. When
 * nothing is held in memory it costs next to nothing.
 */
int image_co_write_back(struct image *img);

/*
 * The end of IMAGE_NO_FLUSH: the next flush, or closing, makes all durable that was written. With
 * no request in flight.
 */
void image_end_no_flush(struct image *img);

/* Advice: the range is not needed. Whole clusters inside it then read as zeroes or as before. */
int image_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes);

/* Afterwards the range reads as zeroes. */
int image_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags);

enum image_preallocation {
	IMAGE_PREALLOC_OFF,
	IMAGE_PREALLOC_METADATA, /* all of the tables, none of the space */
	IMAGE_PREALLOC_FALLOC,	 /* space is reserved */
	IMAGE_PREALLOC_FULL,	 /* space is written to */
};

/* The mode's name ("off", "metadata", "falloc", "full"); false if there is none. */
bool image_parse_preallocation(const char *name, enum image_preallocation *ret_mode);

/*
 * Sets the size; no request may be in flight, but when the image grows. What is added reads as
 * zeroes, in a layer above a longer backing file too, and has its space as @mode says; what is cut
 * off is lost. It is durable when it returns. When it failed the size may be any between the old
 * and the new one. -ENOTSUP: the format, or what is in the image, does not allow it.
 */
int image_co_resize(struct image *img, uint64_t size, enum image_preallocation mode, GError **err);

/*
 * Takes up what somebody else has added to the file, or to the block device; requests may be in
 * flight. It never gets smaller. -ENOTSUP: its file does not decide on the image's size.
 */
int image_co_refresh_size(struct image *img);

/* The same without preallocation, and, for bottom nodes and raw, durable with the next flush. */
int image_co_truncate(struct image *img, uint64_t size);

/*
 * Changes options of the image (name -> value, both char *; a size in bytes); no request may be
 * in flight. A cut or an error at any time leaves an image that holds the same, and some of the
 * changes may be done. @progress, which may be NULL, is called while something is long.
 * -ENOTSUP: what is in the image does not allow it; -EINVAL: no such option or value.
 */
int image_co_amend(struct image *img, GHashTable *options,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *progress_arg,
		   GError **err);

/* As image_create_options(), for amend. */
const struct image_option *image_amend_options(const char *format);

enum image_extent_flags {
	IMAGE_EXTENT_DATA = 1 << 0,	 /* reads need I/O on this layer */
	IMAGE_EXTENT_ZERO = 1 << 1,	 /* reads as zeroes */
	IMAGE_EXTENT_ALLOCATED = 1 << 2, /* decided by this layer, not by its backing file */
	IMAGE_EXTENT_OFFSET = 1 << 3,	 /* host_off is where the data lies in image_data_file() */
	IMAGE_EXTENT_COMPRESSED = 1 << 4,
};

struct image_extent {
	uint64_t bytes; /* how far it goes from the asked offset; > 0 */
	unsigned flags; /* IMAGE_EXTENT_* */
	uint64_t host_off;
	struct image *layer; /* the format node that decides it, NULL: none in the chain */
	unsigned depth;	     /* of that layer: 0 is the image asked */
};

/* The state of the first part of a range (not empty), in this layer alone ... */
int image_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
			  struct image_extent *ret_extent);
/* ... and through the chain. Beyond the end of a short backing file all is zero. */
int image_co_block_status_chain(struct image *img, uint64_t off, uint64_t bytes,
				struct image_extent *ret_extent);

/*
 * ---- dirty bitmaps ----
 *
 * An image may have bitmaps of what was written to it, for backups: while a
 * bitmap is enabled, every change of the disk is in it. They are kept in the
 * image. One that somebody did not close properly is inconsistent: it can only be
 * removed.
 */

struct image_bitmap {
	char *name;
	uint64_t granularity; /* bytes of the disk for each bit */
	bool enabled;
	bool inconsistent;
};

enum image_bitmap_action {
	IMAGE_BITMAP_ADD, /* an enabled one, with nothing in it */
	IMAGE_BITMAP_REMOVE,
	IMAGE_BITMAP_CLEAR,
	IMAGE_BITMAP_ENABLE,
	IMAGE_BITMAP_DISABLE,
};

/* Whether the format has bitmaps at all; the others below give -ENOTSUP where not. */
bool image_has_bitmaps(const struct image *img);
bool image_format_has_bitmaps(const char *format);

/* The bitmaps in order, struct image_bitmap *; the caller unrefs the list. */
int image_co_bitmap_list(struct image *img, GPtrArray **ret_list, GError **err);

/* Changes a bitmap, durably. @granularity is for ADD: 0 is the default. */
int image_co_bitmap_change(struct image *img, enum image_bitmap_action action, const char *name,
			   uint64_t granularity, GError **err);

/*
 * What is dirty in a bitmap of @src, which may be the same image, is then dirty in this
 * one, durably. Disks of the same size.
 */
int image_co_bitmap_merge(struct image *img, const char *name, struct image *src,
			  const char *src_name, GError **err);

/* What is dirty. The caller frees it with dirty_bits_free(). */
int image_co_bitmap_load(struct image *img, const char *name, struct dirty_bits **ret_bits,
			 GError **err);

/* ---- create ---- */

struct image_option {
	const char *name;
	const char *type; /* "size", "str", "bool (on/off)", "num": for `-o help` */
	const char *help;
	/* What `create` says when it was not given; NULL: nothing. */
	const char *default_value;
};

/*
 * The files of a new image that is not whole yet. Whoever began it abandons them when it fails,
 * or clears this when it is done. Zeroed at first.
 */
struct image_begun {
	/* Something may have been written to a block device. */
	bool wipe;
	/* A worker, whom no signal interrupts, is about to make a file and to add it. */
	_Atomic bool making;
	_Atomic unsigned nr;
	struct image_begun_file {
		char *filename;
		struct file_id id;
		bool made; /* there was none before */
		void (*abandon)(const struct image_begun_file *file, bool wipe);
	} files[2];
};

/*
 * Nothing stays that looks like an image: removes files that were made, empties those that were
 * there, and with @wipe zeroes the start of block devices. Blocks. In a signal handler, too; it
 * waits up to a second for a file that is being made.
 */
void image_begun_abandon(const struct image_begun *begun);
void image_begun_clear(struct image_begun *begun);

struct image_create_opts {
	uint64_t size;
	bool size_given;		   /* else the size of the backing file */
	const char *backing_filename;	   /* as it is to be written, NULL if none */
	const char *backing_format;	   /* NULL if none */
	bool backing_unchecked;		   /* do not open the backing file (-u) */
	GHashTable *options;		   /* name -> value, both char *; NULL if none */
	const struct image_policy *policy; /* for what is below the new image; may be NULL */
	/* An open image whose files, with those below it, must not be overwritten; may be NULL. */
	const struct image *source;
	/*
	 * Nobody opens it (without IMAGE_UNFINISHED) before image_co_finish(), where the format
	 * can say so in its header.
	 */
	bool unfinished;
	/* Gets the files of the new image; NULL: not wanted. Empty after a failure. */
	struct image_begun *begun;
};

/*
 * Makes an image file, or makes one of an existing file or block device. On
 * failure a file it made is removed again, and one that it emptied is empty. The created size is in
 * *ret_size when that is not NULL. Unknown options and values are refused.
 */
int image_co_create(const char *filename, const char *format, const struct image_create_opts *opts,
		    uint64_t *ret_size, GError **err);

/*
 * All that is to be in a new image was written: one that was created unfinished is then as any
 * other, and its file is made whole sectors.
 */
int image_co_finish(struct image *img);

/*
 * Options of a format in the order in which `create` shows them, ended by a NULL name; NULL if
 * there is no such format (or it cannot create).
 */
const struct image_option *image_create_options(const char *format);

/* Whether there is such a format and it can hold compressed data. */
bool image_format_can_compress(const char *format);

/* The formats, ended by NULL. */
const char *const *image_formats(void);

/* ---- check ---- */

struct image_check_result {
	uint64_t corruptions;
	uint64_t leaks;
	uint64_t check_errors;	 /* what could not be checked, for an I/O error */
	uint64_t image_end_off;	 /* behind the last cluster in use */
	uint64_t total_clusters; /* guest clusters */
	uint64_t allocated_clusters;
	uint64_t fragmented_clusters;
	uint64_t compressed_clusters;
	uint64_t corruptions_fixed; /* by image_co_repair(), no more in corruptions and leaks */
	uint64_t leaks_fixed;
};

enum image_check_fix {
	IMAGE_CHECK_FIX_LEAKS = 1 << 0,
	IMAGE_CHECK_FIX_ERRORS = 1 << 1,
};

struct image_check_opts {
	unsigned fix; /* IMAGE_CHECK_FIX_* */
	/* Gets one line, without a newline, for each finding; may be NULL. */
	void (*report)(void *arg, const char *line);
	void *report_arg;
	/* How far it is; may be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

/*
 * Looks at all metadata; changes nothing. @report gets one line, without a
 * newline, for each finding; may be NULL. -ENOTSUP where the format has no check.
 */
int image_co_check(struct image *img, void (*report)(void *arg, const char *line), void *report_arg,
		   struct image_check_result *ret_result);

/* ---- snapshots inside of an image ---- */

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

/* A GArray of struct image_snapshot, empty where the format has none; g_array_unref() it. */
int image_co_snapshot_list(struct image *img, GArray **ret_list);

/*
 * The image's contents, kept under a name (and an ID that is made up); going back to
 * them; and giving them up. All or nothing, whatever happens. Requests in flight are
 * waited for, and new ones wait. -ENOTSUP: the format has no snapshots; -ENOENT;
 * -EOVERFLOW: a refcount is at its maximum; -EUCLEAN: the image is corrupt.
 *
 * Names need not be unique: the first one is meant. @which may be an ID as well.
 * Going back may change the size of the image.
 */
int image_co_snapshot_create(struct image *img, const char *name, GError **err);
int image_co_snapshot_apply(struct image *img, const char *which, GError **err);
int image_co_snapshot_delete(struct image *img, const char *name, GError **err);

/*
 * The same with all that can be wished for. @opts->fix wants an image opened with
 * IMAGE_FOR_REPAIR (-EPERM). Cut at any instant, a repair leaves an image that is not worse,
 * and can be repeated.
 */
int image_co_repair(struct image *img, const struct image_check_opts *opts,
		    struct image_check_result *ret_result);

/*
 * Resolves a backing file name as written in @image_filename: absolute names
 * as they are, others against the image's folder. The caller frees it.
 */
char *image_resolve_backing(const char *image_filename, const char *backing_filename);

#endif
