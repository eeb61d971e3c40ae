// SPDX-License-Identifier: GPL-2.0-or-later
/* The data of requests in a round of fuzz.c. */
#include "fuzz.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint64_t data_path;
static uint8_t *buffers; /* one for each tag, by its slot */
static int file;	 /* in memory, for fixed reads and writes */

void begin_data(struct thread *chance)
{
	uint64_t paths[] = { 0, UBD_F_USER_COPY, features & (UBD_F_USER_COPY | UBD_F_ZERO_COPY) };

	data_path = paths[below(chance, 3)];
	buffers = aligned((size_t)QUEUES * DEPTH * IO_BYTES);
	file = memfd_create("data", MFD_CLOEXEC);
	(void)!ftruncate(file, IO_BYTES);
}

static unsigned slot_of(unsigned q_id, unsigned tag)
{
	return (q_id * DEPTH + tag) % (QUEUES * DEPTH);
}

static uint8_t *buffer_of(unsigned slot)
{
	return buffers + (size_t)slot * IO_BYTES;
}

void *fetch_addr(unsigned slot)
{
	if (data_path & UBD_F_ZERO_COPY)
		return (void *)(uintptr_t)slot;
	return data_path ? NULL : buffer_of(slot);
}

/* ---- rings ---- */

void add_buffers(struct thread *t)
{
	if (!one_in(t, 10))
		io_uring_register_buffers_sparse(&t->ring, QUEUES * DEPTH - one_in(t, 4));
}

void close_inherited(bool char_nodes)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		char target[64] = "";

		(void)!readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (strstr(target, "[io_uring]") ||
		    (char_nodes && (strstr(target, "[ubd-char]") || strstr(target, "/ubdc"))))
			close(atoi(entry->d_name));
	}
	closedir(dir);
}

/* ---- pieces ---- */

struct piece {
	int cdev;
	unsigned slot;
	uint8_t *memory;
	size_t bytes;
	uint64_t off;
};

static struct piece any_piece(struct thread *t, unsigned q_id, unsigned tag)
{
	struct piece piece = {
		.cdev = file_of(t, CHAR_NODE),
		.slot = one_in(t, 20) ? below(t, QUEUES * DEPTH + 1) : slot_of(q_id, tag),
		.bytes = one_in(t, 4) ? 1 + below(t, IO_BYTES) : 512,
		.off = ubd_data_offset(q_id, tag) + (one_in(t, 4) ? below(t, IO_BYTES) : 0),
	};

	piece.memory = one_in(t, 20) ? NULL : buffer_of(slot_of(q_id, tag));
	if (one_in(t, 20))
		piece.off ^= odd_number(t);
	return piece;
}

/* One direction is the wrong one. */
static void copy_by_call(struct piece *p)
{
	if (pread(p->cdev, p->memory, p->bytes, p->off) > 0 ||
	    pwrite(p->cdev, p->memory, p->bytes, p->off) > 0)
		tally->copied++;
}

static void copy_by_ring(struct thread *t, struct io_uring_sqe *sqe, struct piece *p, bool writes)
{
	unsigned index = below(t, QUEUES * DEPTH);

	/* Of a request, into another or into itself. */
	if (one_in(t, 4) && writes)
		io_uring_prep_write_fixed(sqe, p->cdev, NULL, p->bytes, p->off, index);
	else if (one_in(t, 4))
		io_uring_prep_read_fixed(sqe, p->cdev, NULL, p->bytes, p->off, index);
	else if (writes)
		io_uring_prep_write(sqe, p->cdev, p->memory, p->bytes, p->off);
	else
		io_uring_prep_read(sqe, p->cdev, p->memory, p->bytes, p->off);
}

static void transfer_fixed(struct thread *t, struct io_uring_sqe *sqe, struct piece *p, bool writes)
{
	uint8_t *addr = one_in(t, 10) ? (uint8_t *)(uintptr_t)odd_number(t) : NULL;
	uint64_t file_off = below(t, 8) * 512;

	if (writes)
		io_uring_prep_write_fixed(sqe, file, addr, p->bytes, file_off, p->slot);
	else
		io_uring_prep_read_fixed(sqe, file, addr, p->bytes, file_off, p->slot);
}

void move_data(struct thread *t, unsigned q_id, unsigned tag)
{
	struct piece piece = any_piece(t, q_id, tag);
	bool is_fixed = one_in(t, data_path & UBD_F_ZERO_COPY ? 2 : 10);

	if (!is_fixed && one_in(t, 2)) {
		copy_by_call(&piece);
		return;
	}
	/* One direction is the wrong one. */
	for (unsigned writes = 0; writes < 2; writes++) {
		struct io_uring_sqe *sqe = new_sqe(t);

		if (!sqe)
			return;
		if (is_fixed)
			transfer_fixed(t, sqe, &piece, writes);
		else
			copy_by_ring(t, sqe, &piece, writes);
		vary(t, sqe);
		sqe->user_data = is_fixed ? DATA_FIXED : DATA_BY_RING;
	}
}
