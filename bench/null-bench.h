/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seams of null-bench: a driver that it can measure, and the server that serves it. Commands
 * for a single tag, the entries of batches and the descriptors are laid out alike in both drivers,
 * so that one server can serve either; what differs are numbers, and how a device is made.
 */
#ifndef UBD_BENCH_NULL_BENCH_H
#define UBD_BENCH_NULL_BENCH_H

#include <liburing.h>
#include <linux/ubd_cmd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IO_BYTES   (128u << 10)
#define DEPTH	   32
#define MAX_QUEUES 64

/* A device: what is wanted of it, and once it is added its nodes. */
struct disk {
	unsigned nr_queues, depth;
	uint64_t bytes;
	unsigned id;
	int control;
	int cdev;
};

struct driver {
	const char *name;
	const char *node;     /* NODEbN is the disk, NODEcN the server's node */
	uint64_t desc_stride; /* from one queue's descriptors to the next one's, in the mapping */

	/* Commands for a single tag; 0: there is none. */
	uint32_t fetch, commit_and_fetch, commit;

	/*
	 * Or batches: fill in a command that tells of the queue's requests from then on, one that
	 * fetches tags first, and one that commits and fetches. The commands are cleared.
	 */
	void (*prep_fetch)(struct io_uring_sqe *sqe, unsigned q_id);
	void (*prep_first)(struct io_uring_sqe *sqe, unsigned q_id, struct ubd_batch_entry *entries,
			   unsigned count);
	void (*prep_commit)(struct io_uring_sqe *sqe, unsigned q_id,
			    struct ubd_batch_entry *entries, unsigned count);

	/* Each of them ends the program if it fails. */
	void (*add)(struct disk *disk);	   /* up to an open ->cdev */
	void (*start)(struct disk *disk);  /* waits for all tags to be fetched */
	void (*stop)(struct disk *disk);   /* ends all fetches */
	void (*remove)(struct disk *disk); /* the last, when the threads have ended */
};

extern const struct driver ubd_driver, ubd_batch_driver, ublk_driver, ublk_batch_driver;

/* ---- null-server.c ---- */

/* What is wanted of the server. */
struct server_options {
	const struct driver *driver;
	bool two_commands; /* COMMIT_REQ and FETCH_REQ, not COMMIT_AND_FETCH_REQ */
	bool one_by_one;   /* a system call for each command */
	int file_fd;	   /* requests are passed on to it; -1: they are answered at once */
};

/* Makes the disk, with a thread for each queue, and removes it. */
void server_start(const struct server_options *options, struct disk *disk);
void server_end(struct disk *disk);

/* ---- null-bench.c; each of them ends the program if it fails ---- */

/* @error: an errno. */
__attribute__((noreturn)) void die(const char *what, int error);

/* What most calls mean by a negative number. */
int check(const char *what, int ret);

void start_thread(pthread_t *thread, void *(*run)(void *), void *arg);
void *allocate(size_t size);

/*
 * Completions come when the thread asks for them, and only it submits. The same for
 * servers and clients.
 */
void init_ring(struct io_uring *ring, unsigned entries);

/*
 * Sends a command whose argument is @arg of @size bytes, on a ring of its own, whose entries have
 * 128 bytes if need be. Returns what is answered, which is no error.
 */
int command(const char *what, int fd, uint32_t op, const void *arg, size_t size);

#endif
