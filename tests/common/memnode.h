/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bottom node on a disk in memory, for tests: every request waits a random
 * number of turns of the loop, so that requests overtake each other, some fail
 * if wanted, and what was done can be kept in a log.
 *
 * The rules of the disk: a request takes effect in the one moment it completes
 * in, and until then is not there to see. What a flush promises is the disk as
 * it was when the flush started.
 */
#ifndef UBD_TESTS_MEMNODE_H
#define UBD_TESTS_MEMNODE_H

#include "image_ops.h"
#include "memdisk.h"
#include "rng.h"

enum disk_op_kind {
	DISK_WRITE,
	DISK_ZERO,
	DISK_DISCARD, /* took effect as zeroes; one that did nothing is not kept */
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
	/* In ticks of the clock; the end is DISK_NEVER while it is in flight or when it failed. */
	uint64_t start;
	uint64_t end;
};

struct memnode {
	/* Set before the node is opened; 0 and NULL are fine for all but the disk. */
	struct memdisk *disk;
	uint32_t alignment; /* of requests; 0: 1 */
	unsigned max_delay; /* turns of the loop */
	/*
	 * How many requests are so late that much happens meanwhile: a flush, say,
	 * and what it sets free.
	 */
	unsigned percent_late;
	uint64_t max_size; /* of the file; 0: MEMDISK_MAX_SIZE */
	/* Of an image with an external data file: that one's, and whose clock it goes by. */
	struct memnode *data;
	struct memnode *clock;
	bool no_write_zeroes; /* the op is missing, as on some file systems */
	/*
	 * As the file node: a flush that failed may have lost data for good, so that
	 * all later ones fail too, until it is opened again.
	 */
	bool flush_error_stays;
	bool flush_does_nothing;	 /* a disk that lies, to test the tests with */
	GPtrArray *log;			 /* of struct disk_op in order of their start */
	_Atomic unsigned fault_permille; /* of writes, flushes and the like; may change later */
	/* Of writes at the start of the disk; those that fail may be there in whole. Likewise. */
	_Atomic unsigned header_fault_percent;
	_Atomic bool hold_discards; /* they wait while it is set */
	/* The node's own. */
	struct thread_lock lock; /* guards the disk, the log and the fields below */
	struct rng rng;
	uint64_t ticks;
	_Atomic unsigned in_flight;
	_Atomic uint64_t faults;
	_Atomic uint64_t discards, flushes; /* that were asked for */
	_Atomic bool flush_failed;	    /* and stays so */
};

/* @seed decides on delays and faults. */
void memnode_init(struct memnode *node, struct memdisk *disk, uint64_t seed);
void memnode_destroy(struct memnode *node);

/* Makes the log that the node is to keep. */
void memnode_start_log(struct memnode *node);

/* The next moment of the clock. Any thread. */
uint64_t memnode_tick(struct memnode *node);

/*
 * Opens an image on the node, which stays the caller's and must outlive it.
 * @filename is what names of backing files are relative to.
 */
int memnode_co_open_image(struct memnode *node, const char *filename,
			  const struct image_open_opts *opts, struct image **ret_img, GError **err);

/* Prints what is in flight, and the last requests if there is a log. For a test that hangs. */
void memnode_dump(struct memnode *node);

/* One line about a request, for people. The caller frees it. */
char *disk_op_describe(const struct disk_op *op);

#endif
