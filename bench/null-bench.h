/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam of null-bench: a driver that it can measure. The commands for I/O, their argument and
 * the descriptors are laid out alike in both drivers, so that one server can serve either;
 * what differs are numbers, and how a device is made.
 */
#ifndef UBD_BENCH_NULL_BENCH_H
#define UBD_BENCH_NULL_BENCH_H

#include <linux/ubd_cmd.h>
#include <stddef.h>
#include <stdint.h>

#define IO_BYTES (128u << 10)

/* A device: what is wanted of it, and once it is added its nodes. */
struct disk {
	unsigned nr_queues, depth;
	uint64_t bytes;
	unsigned id;
	int control;
	int cdev;
};

struct driver {
	const char *name; /* NAMEbN is the disk, NAMEcN the server's node */
	uint32_t fetch, commit_and_fetch;
	uint32_t commit;      /* 0: there is none */
	uint64_t desc_stride; /* from one queue's descriptors to the next one's, in the mapping */

	/* Each of them ends the program if it fails. */
	void (*add)(struct disk *disk);	   /* up to an open ->cdev */
	void (*start)(struct disk *disk);  /* waits for all tags to be fetched */
	void (*stop)(struct disk *disk);   /* ends all fetches */
	void (*remove)(struct disk *disk); /* the last, when the threads have ended */
};

extern const struct driver ubd_driver, ublk_driver;

/* Ends the program. @error: an errno. */
__attribute__((noreturn)) void die(const char *what, int error);

/* What most calls mean by a negative number. */
int check(const char *what, int ret);

/*
 * Sends a command whose argument is @arg of @size bytes, on a ring of its own, whose entries have
 * 128 bytes if need be. Returns what is answered, which is no error.
 */
int command(const char *what, int fd, uint32_t op, const void *arg, size_t size);

#endif
