/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seams of null-bench: the drivers that it measures, and the server that serves their devices.
 * A driver is what ubd-serve knows as one, a struct transport_ops.
 */
#ifndef UBD_BENCH_NULL_BENCH_H
#define UBD_BENCH_NULL_BENCH_H

#include <glib.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport_queues.h"

#define IO_BYTES   (128u << 10)
#define DEPTH	   32
#define MAX_QUEUES 64

/* ---- null-server.c ---- */

struct disk {
	unsigned nr_queues;
	uint64_t bytes;
	char path[32]; /* of its node, once it exists */
};

/* How the server is to work. */
struct server_options {
	const struct transport_ops *driver;
	const struct fetch_wire *wire; /* of its queues */
	bool batches; /* requests and answers come in batches, not with commands for single tags */
	bool two_commands; /* COMMIT_REQ and FETCH_REQ, not COMMIT_AND_FETCH_REQ; ubd only */
	bool one_by_one;   /* a system call for each command */
	int file_fd;	   /* the server passes requests on to it; -1: it answers them at once */
};

/* Adds the disk, with one thread per queue; ends them and deletes it. */
void server_start(const struct server_options *options, struct disk *disk);
void server_end(void);

/* ---- null-bench.c; each of them ends the program if it fails ---- */

/* @error: an errno. */
__attribute__((noreturn)) void die(const char *what, int error);

/* Returns @ret, unless it is negative: then errno says why. */
int check(const char *what, int ret);

void start_thread(pthread_t *thread, void *(*run)(void *), void *arg);
void *allocate(size_t size);

/*
 * Completions come when the thread asks for them, and only that thread submits. The same for
 * servers and clients.
 */
void init_ring(struct io_uring *ring, unsigned entries);

#endif
