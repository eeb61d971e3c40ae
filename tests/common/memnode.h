/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bottom node on a disk in memory, for tests: every request waits a random number of turns of the
 * loop, so that requests overtake each other; optionally some fail, and a log records what was
 * done.
 *
 * The rules of the disk: a request takes effect at the one moment when it completes, and is
 * invisible until then. A flush promises the disk as it was when the flush started.
 */
#ifndef UBD_TESTS_MEMNODE_H
#define UBD_TESTS_MEMNODE_H

#include "image_ops.h"
#include "memdisk.h"
#include "rng.h"

enum disk_op_kind {
	DISK_WRITE,
	DISK_ZERO,
	DISK_DISCARD, /* took effect as zeroes; a discard that did nothing is not logged */
	DISK_TRUNCATE,
	DISK_FLUSH,
};

#define DISK_NEVER UINT64_MAX

/* A request that changes the disk, or a flush. */
struct disk_op {
	enum disk_op_kind kind;
	uint64_t off; /* the new size of a truncate */
	uint64_t bytes;
	uint8_t *data; /* of a write */
	/*
	 * In ticks of the clock; the end is DISK_NEVER while the request is in flight or if it
	 * failed.
	 */
	uint64_t start;
	uint64_t end;
};

struct memnode {
	/* Set before the node is opened; 0 and NULL are fine for everything but the disk. */
	struct memdisk *disk;
	uint32_t alignment; /* of requests; 0: 1 */
	unsigned max_delay; /* turns of the loop */
	/*
	 * How many requests are so late that much happens meanwhile: for example a flush, and the
	 * reuse of what it frees.
	 */
	unsigned percent_late;
	uint64_t max_size; /* of the file; 0: MEMDISK_MAX_SIZE */
	/* For an image with an external data file: the data file's node, whose clock is used. */
	struct memnode *data;
	struct memnode *clock;
	bool no_write_zeroes; /* the op is missing, as on some file systems */
	/*
	 * Like the file node: a flush that failed may have lost data for good, so all later ones
	 * fail, too, until the node is opened again.
	 */
	bool flush_error_stays;
	bool flush_does_nothing;	 /* the disk lies, to test the tests */
	GPtrArray *log;			 /* of struct disk_op in order of their start */
	_Atomic unsigned fault_permille; /* of writes, flushes and the like; may change later */
	/*
	 * Of writes at the start of the disk; those that fail may be there as a whole. They come
	 * and go, too.
	 */
	_Atomic unsigned header_fault_percent;
	_Atomic bool hold_discards; /* they wait while it is set */
	/* The node's own. */
	struct thread_lock lock; /* guards the disk, the log and the fields below */
	struct rng rng;
	uint64_t ticks;
	_Atomic unsigned in_flight;
	_Atomic uint64_t faults;
	_Atomic uint64_t discards, flushes; /* that were asked for */
	_Atomic bool flush_failed;	    /* and it stays so */
	bool tells_holes;		    /* since it was asked to grow ahead */
};

/* @seed decides on delays and faults. */
void memnode_init(struct memnode *node, struct memdisk *disk, uint64_t seed);
void memnode_destroy(struct memnode *node);

/* Creates the log that the node must keep. */
void memnode_start_log(struct memnode *node);

/* The next moment of the clock. Any thread. */
uint64_t memnode_tick(struct memnode *node);

/*
 * Opens an image on the node, which still belongs to the caller and must outlive the image. Names
 * of backing files are relative to @filename.
 */
int memnode_co_open_image(struct memnode *node, const char *filename,
			  const struct image_open_opts *opts, struct image **ret_img, GError **err);

/* Prints what is in flight, and the last requests if there is a log. For a test that hangs. */
void memnode_dump(struct memnode *node);

/* One line about a request, for people. The caller frees it. */
char *disk_op_describe(const struct disk_op *op);

#endif
