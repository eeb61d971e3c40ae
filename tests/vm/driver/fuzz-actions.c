// SPDX-License-Identifier: GPL-2.0-or-later
/* What is done in a round of fuzz.c. */
#include "fuzz.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PER_KIND 3

/* What the threads of a round share; -1 if there is no file. */
static _Atomic int files[KINDS][PER_KIND];
static _Atomic int served[KINDS];
static _Atomic unsigned usual_id; /* the server's */

/* The last mapping of descriptors. */
struct mapping {
	uint8_t *memory;
	size_t bytes;
};

static struct mapping *_Atomic last_mapping;

void begin_round(struct thread *chance)
{
	begin_data(chance);
	begin_batches(chance);
	memset(files, 0xff, sizeof(files));
	memset(served, 0xff, sizeof(served));
	usual_id = DEVICES;
}

/* ---- chance ---- */

uint64_t draw(struct thread *t)
{
	t->state ^= t->state << 13;
	t->state ^= t->state >> 7;
	t->state ^= t->state << 17;
	return t->state;
}

unsigned below(struct thread *t, unsigned limit)
{
	return (draw(t) >> 20) % limit;
}

/* Numbers that tend to be a limit of something. */
uint64_t odd_number(struct thread *t)
{
	static const uint64_t numbers[] = {
		0, 1, 7, 511, 512, 4095, 4096, 65535, 1u << 31, UINT32_MAX, INT64_MAX, UINT64_MAX
	};

	return one_in(t, 3) ? draw(t) : numbers[below(t, sizeof(numbers) / sizeof(*numbers))];
}

/* Now and then corrupts a word of a struct. */
void spoil(struct thread *t, void *data, size_t bytes)
{
	uint64_t number = odd_number(t);
	size_t width = 1u << below(t, 4);

	if (one_in(t, t->is_server ? 120 : 40) && bytes >= width)
		memcpy((uint8_t *)data + below(t, bytes / width) * width, &number, width);
}

/* ---- files ---- */

/* The server's file, or any; now and then one of another kind. */
int file_of(struct thread *t, enum kind kind)
{
	if (t->is_server ? !one_in(t, 100) : one_in(t, 8))
		return served[kind];
	return files[one_in(t, 12) ? below(t, KINDS) : kind][below(t, PER_KIND)];
}

static void keep_file(struct thread *t, enum kind kind, int fd)
{
	int old;

	if (fd < 0)
		return;
	/* What the others do not close; and if one of them has been faster, that will do. */
	if (t->is_server || served[kind] < 0) {
		old = atomic_exchange(&served[kind], fd);
		if (old >= 0)
			close(old);
		fd = dup(fd);
	}
	old = atomic_exchange(&files[kind][below(t, PER_KIND)], fd);
	if (old >= 0)
		close(old);
}

static unsigned any_id(struct thread *t)
{
	if (t->is_server ? !one_in(t, 20) : one_in(t, 8))
		return usual_id;
	return one_in(t, 20) ? odd_number(t) : below(t, DEVICES);
}

/* ---- commands ---- */

static void handle_cqe(struct thread *t, const struct io_uring_cqe *cqe);
static void open_block(struct thread *t);

/* Submits, and takes what answers there are; waits for the first so long. */
static void wait_for_answers(struct thread *t, unsigned milliseconds)
{
	struct __kernel_timespec moment = { .tv_nsec = milliseconds * 1000000 };
	struct io_uring_cqe *cqe, copy;

	io_uring_submit(&t->ring);
	while (!io_uring_wait_cqe_timeout(&t->ring, &cqe, &moment) && cqe) {
		copy = *cqe;
		io_uring_cqe_seen(&t->ring, cqe);
		handle_cqe(t, &copy);
		moment.tv_nsec = 0;
	}
}

static void take_answers(struct thread *t)
{
	wait_for_answers(t, below(t, 3));
}

struct io_uring_sqe *new_sqe(struct thread *t)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&t->ring);

	if (!sqe) {
		io_uring_submit(&t->ring);
		sqe = io_uring_get_sqe(&t->ring);
	}
	return sqe;
}

/*
 * io_uring's own: who executes it and in what order, what ends with it, and the file by its place
 * in the ring's table.
 */
void vary(struct thread *t, struct io_uring_sqe *sqe)
{
	static const unsigned flags[] = { IOSQE_ASYNC, IOSQE_IO_LINK, IOSQE_IO_HARDLINK,
					  IOSQE_IO_DRAIN, IOSQE_CQE_SKIP_SUCCESS };
	int place = below(t, PER_KIND);

	if (one_in(t, t->is_server ? 200 : 20))
		sqe->flags |= flags[below(t, sizeof(flags) / sizeof(*flags))];
	if (t->has_table && one_in(t, 10) &&
	    io_uring_register_files_update(&t->ring, place, &sqe->fd, 1) == 1) {
		sqe->fd = place;
		sqe->flags |= IOSQE_FIXED_FILE;
	}
}

/* user_data: the command, and for I/O commands queue and tag above. */
static void send_io(struct thread *t, int fd, uint32_t op, unsigned q_id, unsigned tag, int result)
{
	struct io_uring_sqe *sqe = new_sqe(t);
	unsigned slot = (q_id * DEPTH + tag) % (QUEUES * DEPTH);

	if (!sqe)
		return;
	prep_io(sqe, fd, op, q_id, tag, result, fetch_addr(slot));
	spoil(t, sqe->cmd, 16);
	vary(t, sqe);
	sqe->user_data = op | (uint64_t)q_id << 16 | (uint64_t)tag << 32;
}

static void handle_cqe(struct thread *t, const struct io_uring_cqe *cqe)
{
	unsigned op = cqe->user_data & 0xffff;
	bool fetch = op == UBD_IO_FETCH_REQ || op == UBD_IO_COMMIT_AND_FETCH_REQ;

	if (op == UBD_CMD_ADD_DEV && cqe->res >= 0) {
		tally->added++;
		keep_file(t, CONTROL_FD, cqe->res);
	} else if (op == UBD_CMD_OPEN_DEV && cqe->res >= 0) {
		keep_file(t, CONTROL_FD, cqe->res);
	} else if (op == UBD_CMD_START_DEV && cqe->res == 0) {
		tally->started++;
		open_block(t);
	} else if (op == UBD_CMD_END_RECOVERY && cqe->res == 0) {
		tally->recovered++;
	} else if (op == UBD_CMD_OPEN_CHAR && cqe->res >= 0) {
		keep_file(t, CHAR_NODE, cqe->res);
	} else if (op == UBD_CMD_OPEN_BLOCK && cqe->res >= 0) {
		tally->opened++;
		keep_file(t, DISK, cqe->res);
	} else if (op == DATA_BY_RING && cqe->res > 0) {
		tally->copied_by_ring++;
	} else if (op == DATA_FIXED && cqe->res > 0) {
		tally->fixed++;
	} else if (op == UBD_IO_FETCH_BATCH) {
		handle_fetch_batch(t, cqe);
	} else if (fetch && cqe->res == UBD_IO_RES_OK) {
		unsigned q_id = cqe->user_data >> 16 & 0xffff, tag = cqe->user_data >> 32 & 0xffff;

		tally->served++;
		for (unsigned i = data_path ? 1 + below(t, 3) : one_in(t, 10); i; i--)
			move_data(t, q_id, tag);
		send_io(t, file_of(t, CHAR_NODE), UBD_IO_COMMIT_AND_FETCH_REQ, q_id, tag,
			one_in(t, 10) ? (int)draw(t) : 4096);
	}
}

static void send_control(struct thread *t, int fd, uint32_t op, const void *data, size_t bytes)
{
	/* What a command reads and writes must live until it is answered: for the whole round. */
	void *copy = malloc(bytes + 1);
	struct ubdsrv_ctrl_cmd cmd = { .len = bytes };
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe || !copy)
		return;
	memcpy(copy, data, bytes);
	spoil(t, copy, bytes);
	cmd.addr = bytes ? (uintptr_t)copy : 0;
	spoil(t, &cmd, sizeof(cmd));
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	vary(t, sqe);
	sqe->user_data = op;
}

/* ---- actions ---- */

static void add(struct thread *t)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	info.queue_depth = DEPTH;
	info.max_io_bytes = IO_BYTES;
	info.dev_id = any_id(t);
	if (one_in(t, 2))
		info.flags = UBD_F_USER_RECOVERY | below(t, 3) << 1;
	t->recovers = info.flags & UBD_F_USER_RECOVERY;
	info.flags |=
		one_in(t, 20) ? draw(t) & features : data_path | (by_batches ? UBD_F_BATCH : 0);
	send_control(t, fd, UBD_CMD_ADD_DEV, &info, sizeof(info));
	wait_for_answers(t, 100);
	keep_file(t, CONTROL_NODE, fd);
}

static void set_params(struct thread *t)
{
	struct ubd_params params = usual_params();

	params.max_io_sectors = IO_BYTES >> 9;
	if (one_in(t, 4))
		params.attrs |= UBD_ATTR_STABLE_WRITES;
	if (one_in(t, 4))
		params.request_timeout = one_in(t, 2) ? UBD_NO_REQUEST_TIMEOUT : 1;
	if (one_in(t, 4))
		params.dma_alignment = 4u << below(t, 8);
	if (one_in(t, 4))
		params.max_segments = 128 + below(t, 4);
	if (one_in(t, 4))
		params.max_segment_size = 4096 + 512 * below(t, 4);
	if (one_in(t, 4))
		params.segment_boundary = 4096u << below(t, 20);
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_SET_PARAMS, &params, sizeof(params));
	wait_for_answers(t, 100);
}

static void open_char(struct thread *t)
{
	if (one_in(t, 2)) {
		keep_file(t, CHAR_NODE, open(char_node(any_id(t)), O_RDWR | O_CLOEXEC));
		return;
	}
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_OPEN_CHAR, NULL, 0);
	wait_for_answers(t, 100);
}

static void open_block(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_OPEN_BLOCK, NULL, 0);
}

/* By the kernel, for which it is no fault of ours if there is nothing any more. */
static void touch(const uint8_t *memory, size_t bytes)
{
	int fd = memfd_create("touch", MFD_CLOEXEC);

	for (size_t i = 0; i < bytes && i < 65536; i += 4096)
		(void)!pwrite(fd, memory + i, 1, 0);
	close(fd);
}

static struct mapping take_mapping(void)
{
	struct mapping *last = atomic_exchange(&last_mapping, NULL), map = {};

	if (last)
		map = *last;
	free(last);
	return map;
}

static void unmap(void)
{
	struct mapping map = take_mapping();

	if (map.memory)
		munmap(map.memory, map.bytes);
}

static void keep_mapping(struct mapping map)
{
	struct mapping *copy = malloc(sizeof(map));

	unmap();
	*copy = map;
	copy = atomic_exchange(&last_mapping, copy);
	/* Another thread has been here meanwhile. */
	free(copy);
}

static void map(struct thread *t)
{
	int prot = one_in(t, 4) ? below(t, 8) : PROT_READ;
	int flags = one_in(t, 4) ? MAP_PRIVATE : MAP_SHARED;
	uint64_t off = one_in(t, 4) ? odd_number(t) & ~4095ull
				    : ubd_desc_mmap_offset(below(t, QUEUES + 1));
	size_t bytes = one_in(t, 4) ? 1 + below(t, 1 << 20) : DEPTH * sizeof(struct ubdsrv_io_desc);
	uint8_t *memory = mmap(NULL, bytes, prot, flags, file_of(t, CHAR_NODE), off);

	if (memory == MAP_FAILED)
		return;
	tally->mapped++;
	touch(memory, bytes);
	keep_mapping((struct mapping){ memory, bytes });
}

/*
 * Whatever can be done to memory, but for what breaks the machine's own (MADV_HWPOISON). Nobody
 * else does so meanwhile: what is there later may be other memory.
 */
static void change_mapping(struct thread *t)
{
	struct mapping map = take_mapping();
	uint8_t *moved = map.memory;

	if (!map.memory)
		return;
	switch (below(t, 6)) {
	case 0:
		munmap(map.memory, map.bytes);
		return;
	case 1:
		moved = mremap(map.memory, map.bytes, map.bytes + 4096, MREMAP_MAYMOVE);
		break;
	case 2:
		moved = mremap(map.memory, map.bytes, map.bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
		break;
	case 3:
		mprotect(map.memory, map.bytes, below(t, 8));
		break;
	default:
		madvise(map.memory, map.bytes, below(t, 26));
	}
	if (moved != MAP_FAILED)
		map.memory = moved;
	touch(map.memory, map.bytes);
	keep_mapping(map);
}

/* What these files are not for. */
static void misuse(struct thread *t)
{
	int fd = file_of(t, below(t, KINDS));
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN | POLLOUT };
	uint8_t data[512];

	switch (below(t, 6)) {
	case 0:
		(void)!pread(fd, data, sizeof(data), odd_number(t) & INT64_MAX);
		break;
	case 1:
		(void)!pwrite(fd, data, below(t, sizeof(data)), odd_number(t) & INT64_MAX);
		break;
	case 2:
		lseek(fd, odd_number(t) & INT64_MAX, below(t, 5));
		break;
	case 3:
		ioctl(fd, draw(t), data);
		break;
	case 4:
		poll(&poll_fd, 1, 0);
		break;
	default:
		fsync(fd);
		(void)!ftruncate(fd, odd_number(t) & INT64_MAX);
	}
}

static void move_any(struct thread *t)
{
	move_data(t, below(t, QUEUES + 1), below(t, DEPTH + 1));
}

static void fetch_all(struct thread *t)
{
	int fd = file_of(t, CHAR_NODE);

	if (by_batches) {
		fetch_batches(t);
		return;
	}
	for (unsigned i = 0; i < QUEUES * DEPTH; i++)
		send_io(t, fd, UBD_IO_FETCH_REQ, i / DEPTH, i % DEPTH, 0);
}

static void send_any_io(struct thread *t)
{
	if (by_batches && !one_in(t, 10)) {
		send_any_batch(t);
		return;
	}
	send_io(t, file_of(t, CHAR_NODE), UBD_IO_FETCH_REQ + below(t, 6), below(t, QUEUES + 1),
		below(t, DEPTH + 1), one_in(t, 2) ? (int)draw(t) : 4096);
}

static void change_state(struct thread *t)
{
	static const uint32_t ops[] = { UBD_CMD_START_RECOVERY, UBD_CMD_END_RECOVERY,
					UBD_CMD_QUIESCE,	UBD_CMD_STOP_DEV,
					UBD_CMD_TRY_STOP_DEV,	UBD_CMD_DEL_DEV };

	send_control(t, file_of(t, CONTROL_FD), ops[below(t, sizeof(ops) / sizeof(*ops))], NULL, 0);
}

static void start(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_START_DEV, NULL, 0);
}

static void send_any_control(struct thread *t)
{
	static const size_t sizes[] = { 0,
					8,
					sizeof(struct ubd_open_dev),
					sizeof(struct ubd_params),
					sizeof(struct ubd_identity),
					sizeof(struct ubdsrv_ctrl_dev_info) };
	uint8_t data[256];
	size_t bytes = one_in(t, 4) ? below(t, sizeof(data))
				    : sizes[below(t, sizeof(sizes) / sizeof(*sizes))];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = one_in(t, 3) ? draw(t) : 0;
	send_control(t, file_of(t, below(t, KINDS)), below(t, 0x18), data, bytes);
}

static void open_by_id(struct thread *t)
{
	struct ubd_open_dev arg = { .dev_id = any_id(t) };
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	send_control(t, fd, UBD_CMD_OPEN_DEV, &arg, sizeof(arg));
	take_answers(t);
	keep_file(t, CONTROL_NODE, fd);
}

static void close_one(struct thread *t)
{
	int fd = atomic_exchange(&files[below(t, KINDS)][below(t, PER_KIND)], -1);

	if (fd >= 0)
		close(fd);
}

/* Its answer comes when the device changes or the round ends, or never. */
static void poll_by_ring(struct thread *t)
{
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, file_of(t, one_in(t, 4) ? below(t, KINDS) : CONTROL_FD),
			       POLLIN);
	vary(t, sqe);
	sqe->user_data = 0;
}

static void cancel(struct thread *t)
{
	struct io_uring_sqe *sqe = new_sqe(t);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, UBD_IO_FETCH_REQ, IORING_ASYNC_CANCEL_ANY);
	sqe->user_data = 0;
}

void open_ring(struct thread *t)
{
	static const unsigned kinds[] = { 0,
					  0,
					  0,
					  IORING_SETUP_COOP_TASKRUN,
					  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
					  IORING_SETUP_SQPOLL,
					  IORING_SETUP_IOPOLL };
	struct io_uring_params params = { .sq_thread_idle = 20 };

	params.flags = kinds[below(t, sizeof(kinds) / sizeof(*kinds) - t->is_server)];
	if (io_uring_queue_init_params(32, &t->ring, &params) &&
	    io_uring_queue_init(32, &t->ring, 0))
		_exit(0);
	io_uring_ring_dontfork(&t->ring);
	t->has_table = one_in(t, 2) && !io_uring_register_files_sparse(&t->ring, PER_KIND);
	add_buffers(t);
	add_tag_buffers(t);
}

static void change_ring(struct thread *t)
{
	io_uring_queue_exit(&t->ring);
	open_ring(t);
}

/* A user of the disk: a process of its own, for it may have to wait. */
static void use_disk(struct thread *t)
{
	unsigned id = any_id(t);
	uint64_t range[2] = { (uint64_t)below(t, 4096) * 4096, 4096 };
	bool direct = one_in(t, 2);

	if (fork())
		return;
	close_inherited(!one_in(t, 8));
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file_of(t, DISK));
	int fd = open(one_in(t, 2) ? path : block_node(id),
		      O_RDWR | (direct ? O_DIRECT : 0) | O_CLOEXEC);
	void *memory = aligned(4096);

	for (unsigned i = 1 + below(t, 8); i; i--) {
		off_t off = range[0] + below(t, 64) * 4096;

		if (one_in(t, 2))
			(void)!pread(fd, memory, 4096, off);
		else
			(void)!pwrite(fd, memory, 4096, off);
	}
	if (one_in(t, 4))
		ioctl(fd, one_in(t, 2) ? BLKDISCARD : BLKZEROOUT, range);
	if (one_in(t, 4))
		ioctl(fd, one_in(t, 2) ? BLKRRPART : BLKFLSBUF);
	fsync(fd);
	_exit(0);
}

/* A child with what we have open does some of the above and goes. */
static void child_acts(struct thread *t)
{
	if (fork())
		return;
	close_inherited(false);
	open_ring(t);
	for (unsigned i = below(t, 8); i; i--)
		act(t);
	_exit(0);
}

void act(struct thread *t)
{
	static void (*const actions[])(struct thread *) = {
		add,	      add,	   set_params,	   set_params,	 open_char,
		open_char,    map,	   change_mapping, misuse,	 move_any,
		fetch_all,    fetch_all,   fetch_all,	   start,	 start,
		start,	      send_any_io, send_any_io,	   change_state, send_any_control,
		open_by_id,   open_block,  close_one,	   use_disk,	 use_disk,
		poll_by_ring,
	};

	tally->actions++;
	if (one_in(t, 60))
		child_acts(t);
	else if (one_in(t, 60))
		cancel(t);
	else if (one_in(t, 80))
		change_ring(t);
	else
		actions[below(t, sizeof(actions) / sizeof(*actions))](t);
	take_answers(t);
}

/* Closes all of ubdcN that is known, so that the server is gone. */
static void leave(struct thread *t)
{
	unmap();
	for (unsigned i = 0; i <= PER_KIND; i++) {
		_Atomic int *file = i < PER_KIND ? &files[CHAR_NODE][i] : &served[CHAR_NODE];
		int fd = atomic_exchange(file, -1);

		if (fd >= 0)
			close(fd);
	}
}

static void start_recovery(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_START_RECOVERY, NULL, 0);
	wait_for_answers(t, 100);
}

static void end_recovery(struct thread *t)
{
	send_control(t, file_of(t, CONTROL_FD), UBD_CMD_END_RECOVERY, NULL, 0);
}

void live(struct thread *t)
{
	static void (*const first[])(struct thread *) = {
		add, set_params, open_char, map, fetch_all, start, NULL,
	};
	static void (*const again[])(struct thread *) = {
		start_recovery, open_char, map, fetch_all, end_recovery, NULL,
	};
	bool recovers = t->recovers && one_in(t, 2);

	leave(t);
	/* The last device may not be gone yet. */
	if (!recovers)
		usual_id = DEVICES + below(t, 16);
	for (void (*const *step)(struct thread *) = recovers ? again : first; *step; step++) {
		(*step)(t);
		take_answers(t);
	}
	for (unsigned i = below(t, 120); i; i--) {
		if (one_in(t, 10))
			act(t);
		else if (one_in(t, 10))
			use_disk(t);
		take_answers(t);
	}
}
