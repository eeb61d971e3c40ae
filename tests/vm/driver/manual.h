/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server by hand, in batches: one queue, one ring, and only the test's thread. */
#ifndef UBD_TESTS_VM_DRIVER_MANUAL_H
#define UBD_TESTS_VM_DRIVER_MANUAL_H

#include "actors.h"
#include "batches.h"

#define MANUAL_DEPTH 256

struct manual {
	struct server server;
	struct io_uring ring;
	unsigned int
		sqe_flags; /* of every command; with IOSQE_FIXED_FILE the batch has the index */
	struct batch batch;
	struct ubd_batch_entry entries[MANUAL_DEPTH]; /* the next COMMIT_BATCH */
	unsigned int nr_entries;
	uint16_t tags[MANUAL_DEPTH]; /* received and not answered yet */
	unsigned int nr_tags;
	unsigned int nr_cqes; /* that listed tags */
	int fetch_end;	      /* res of the last CQE of the FETCH_BATCH; 1 before that */
};

/* ---- its life ---- */

/* A device of @depth tags with UBD_F_* @flags, opened; the test creates the ring. */
void manual_add(struct manual *m, uint64_t flags, unsigned int depth);

/* A COMMIT_BATCH that fetches all tags. */
void manual_arm_all(struct manual *m);

/* Sends a FETCH_BATCH. */
void manual_fetch(struct manual *m);

/* Serves until the device is live, which @how brings about in a thread. */
void manual_go_live(struct manual *m, void *(*how)(void *server));
void *manual_start(void *server);
void *manual_recover(void *server);

/* The last three, with this number of buffers. */
void manual_serve(struct manual *m, unsigned int nr_buffers, unsigned int tags_per_buffer);

/* All of that; and of a device with default values. */
void manual_run_with(struct manual *m, uint64_t flags, unsigned int depth, unsigned int nr_buffers,
		     unsigned int tags_per_buffer);
void manual_run(struct manual *m);

/* Stops and deletes the device. */
void manual_end(struct manual *m);

/* ---- from the driver ---- */

/*
 * Handles a CQE, if one arrives within this many milliseconds. Returns true if it is not a FETCH's.
 */
bool manual_handle(struct manual *m, unsigned int milliseconds, int *ret_res);

/*
 * Waits until the server has received this many requests. On a busy machine some arrive later than
 * others, when the only buffer was used and not provided again.
 */
void manual_wait_for_tags(struct manual *m, unsigned int nr);

/* The result with which the FETCH_BATCH ends. */
int manual_wait_for_end(struct manual *m);

/* The result of the next CQE that is not a FETCH's. */
int manual_wait_for_commit(struct manual *m);

const struct ubdsrv_io_desc *manual_desc(const struct manual *m, unsigned int tag);

/* ---- to the driver ---- */

void manual_add_entry(struct manual *m, unsigned int flags, unsigned int tag, int result);

/* A COMMIT_BATCH of all entries, which empties them; and the same, submitted and waited for. */
struct io_uring_sqe *manual_prepare_commit(struct manual *m);
int manual_commit(struct manual *m);

/* With a single entry. */
int manual_commit_one(struct manual *m, unsigned int flags, unsigned int tag, int result);

/* Adds entries for all requests that the server has; and the same, committed and fetched again. */
void manual_answer(struct manual *m, unsigned int flags);
void manual_answer_all(struct manual *m);

#endif
