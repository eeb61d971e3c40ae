// SPDX-License-Identifier: GPL-2.0-or-later
/* Requests in batches in a round of fuzz.c. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#define GROUP	    0
#define NR_BUFFERS  4
#define MAX_ENTRIES (DEPTH + 1)

bool by_batches;

void begin_batches(struct thread *chance)
{
	by_batches = (features & UBD_F_BATCH) && one_in(chance, 2);
}

void add_tag_buffers(struct thread *t)
{
	if (by_batches && !one_in(t, 10))
		batch_init(&t->batch, &t->ring, -1, GROUP, NR_BUFFERS, 1 + below(t, DEPTH));
}

/* user_data as of single commands. */
static void send_batch(struct thread *t, unsigned q_id, const struct ubd_batch_entry *entries,
		       unsigned nr)
{
	/* It may be read later than the command is sent. */
	struct ubd_batch_entry *copy = malloc(MAX_ENTRIES * sizeof(*copy));
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe || !copy)
		return;
	memcpy(copy, entries, MAX_ENTRIES * sizeof(*copy));
	spoil(t, copy, nr * sizeof(*copy));
	prep_commit_batch(sqe, file_of(t, CHAR_NODE), q_id, copy, nr);
	spoil(t, sqe->cmd, sizeof(struct ubdsrv_io_cmd));
	vary(t, sqe);
	sqe->user_data = UBD_IO_COMMIT_BATCH | (uint64_t)q_id << 16;
}

static void send_fetch(struct thread *t, unsigned q_id)
{
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe)
		return;
	prep_fetch_batch(sqe, file_of(t, CHAR_NODE), q_id, one_in(t, 50) ? GROUP + 1 : GROUP);
	spoil(t, sqe->cmd, sizeof(struct ubdsrv_io_cmd));
	vary(t, sqe);
	sqe->user_data = UBD_IO_FETCH_BATCH | (uint64_t)q_id << 16;
}

void fetch_batches(struct thread *t)
{
	for (unsigned q_id = 0; q_id < QUEUES; q_id++) {
		struct ubd_batch_entry entries[MAX_ENTRIES] = {};

		for (unsigned tag = 0; tag < DEPTH; tag++)
			entries[tag] = (struct ubd_batch_entry){
				.tag = tag,
				.flags = UBD_BATCH_FETCH,
				.addr = (uintptr_t)fetch_addr(q_id * DEPTH + tag),
			};
		send_batch(t, q_id, entries, DEPTH);
		send_fetch(t, q_id);
	}
}

void send_any_batch(struct thread *t)
{
	struct ubd_batch_entry entries[MAX_ENTRIES] = {};
	unsigned q_id = below(t, QUEUES + 1), nr = below(t, MAX_ENTRIES + 1);

	if (one_in(t, 4)) {
		send_fetch(t, q_id);
		return;
	}
	for (unsigned i = 0; i < nr; i++) {
		unsigned tag = below(t, DEPTH + 1), flags = below(t, 5);
		void *addr = fetch_addr((q_id * DEPTH + tag) % (QUEUES * DEPTH));

		entries[i] = (struct ubd_batch_entry){
			.tag = tag,
			.flags = flags,
			.result = !(flags & UBD_BATCH_COMMIT) ? 0
				  : one_in(t, 2)	      ? 4096
							      : draw(t),
			.addr = flags & UBD_BATCH_FETCH ? (uintptr_t)addr : 0,
		};
	}
	send_batch(t, q_id, entries, nr);
}

/* Answers what it tells of. */
static void answer(struct thread *t, unsigned q_id, const struct io_uring_cqe *cqe)
{
	struct ubd_batch_entry entries[MAX_ENTRIES] = {};
	uint16_t tags[DEPTH];
	unsigned nr = batch_take(&t->batch, cqe, tags);

	for (unsigned i = 0; i < nr; i++) {
		unsigned flags =
			one_in(t, 10) ? UBD_BATCH_COMMIT : UBD_BATCH_COMMIT | UBD_BATCH_FETCH;

		tally->served++;
		tally->told++;
		for (unsigned j = data_path ? 1 + below(t, 3) : one_in(t, 10); j; j--)
			move_data(t, q_id, tags[i]);
		entries[i] = (struct ubd_batch_entry){
			.tag = tags[i],
			.flags = flags,
			.result = one_in(t, 10) ? (int)draw(t) : 4096,
			.addr = flags & UBD_BATCH_FETCH
					? (uintptr_t)fetch_addr((q_id * DEPTH + tags[i]) %
								(QUEUES * DEPTH))
					: 0,
		};
	}
	send_batch(t, q_id, entries, nr);
}

void handle_fetch_batch(struct thread *t, const struct io_uring_cqe *cqe)
{
	unsigned q_id = cqe->user_data >> 16 & 0xffff;

	if (cqe->flags & IORING_CQE_F_BUFFER)
		answer(t, q_id, cqe);
	if (!(cqe->flags & IORING_CQE_F_MORE) && (cqe->res == -ENOBUFS || cqe->res == -EFAULT))
		send_fetch(t, q_id);
}
