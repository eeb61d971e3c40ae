/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests of zero copy share: a server that is the test itself, with one queue and one ring. Its
 * disk is a file in memory, for fixed reads and writes, and each tag's own number is the index of
 * its buffer. Requests for sectors from KEPT_SECTOR on are left to the test.
 */
#ifndef UBD_TESTS_VM_DRIVER_FIXED_H
#define UBD_TESTS_VM_DRIVER_FIXED_H

#include "kept.h"

#define FIXED_DEPTH 4
#define ZERO_COPY   (UBD_F_USER_COPY | UBD_F_ZERO_COPY)
#define IS_FIXED_IO (1u << 16) /* in user_data, beside the tag */

struct fixed_server {
	struct server server;
	struct io_uring ring;
	int file;
	int kept;	       /* tag of the request that the test must serve, or -1 */
	unsigned int nr_fixed; /* requests served by fixed I/O */
};

/* server_init(), and the ring with a table for this many buffers. */
void fixed_init(struct fixed_server *s, uint64_t flags, unsigned int nr_buffers);

/*
 * Opens ubdcN, fetches, and serves until the device is live, which @how brings about in a thread.
 */
void fixed_go_live(struct fixed_server *s, void *(*how)(void *server));
void *fixed_start(void *server);
void *fixed_end_recovery(void *server);

/* All of that for a new device; and its end. */
void fixed_run(struct fixed_server *s, uint64_t flags, unsigned int nr_buffers);
void fixed_delete(struct fixed_server *s);

/* Serves as long as @goes_on(s, arg). */
void fixed_serve_while(struct fixed_server *s, bool (*goes_on)(struct fixed_server *, int),
		       int arg);
bool fixed_keeps_none(struct fixed_server *s, int unused);
bool fixed_client_runs(struct fixed_server *s, int pid);

/* A client whose request is kept now. */
int fixed_spawn_client(struct fixed_server *s, void (*run)(void *));

struct ubdsrv_io_desc *fixed_desc(struct fixed_server *s, int tag);

/* An I/O command on any ring; does not wait for its answer. */
void fixed_send(struct fixed_server *s, struct io_uring *ring, uint32_t op, int tag, int result);

/* COMMIT_REQ of the kept request; returns cqe->res. */
int fixed_commit(struct fixed_server *s, struct io_uring *ring, int result);

#endif
