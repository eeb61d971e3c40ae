// SPDX-License-Identifier: GPL-2.0-or-later
/* See fixed.h. */
#include "fixed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

struct ubdsrv_io_desc *fixed_desc(struct fixed_server *s, int tag)
{
	return &s->server.queues[0].descs[tag];
}

/* Every tag has its own number as the index of its buffer. */
void fixed_send(struct fixed_server *s, struct io_uring *ring, uint32_t op, int tag, int result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	prep_io(sqe, s->server.cdev, op, 0, tag, result, (void *)(uintptr_t)tag);
	CHECK_EQ(io_uring_submit(ring), 1);
}

void fixed_init(struct fixed_server *s, uint64_t flags, unsigned int nr_buffers)
{
	server_init(&s->server);
	s->server.info.nr_hw_queues = 1;
	s->server.info.queue_depth = FIXED_DEPTH;
	s->server.info.flags = flags;
	s->kept = -1;
	s->nr_fixed = 0;
	CHECK_EQ(io_uring_queue_init(32, &s->ring, 0), 0);
	/* Mappings in a client would keep the ring. */
	CHECK_EQ(io_uring_ring_dontfork(&s->ring), 0);
	CHECK_EQ(io_uring_register_buffers_sparse(&s->ring, nr_buffers), 0);
}

static void fetch_all(struct fixed_server *s)
{
	for (int tag = 0; tag < FIXED_DEPTH; tag++)
		fixed_send(s, &s->ring, UBD_IO_FETCH_REQ, tag, 0);
}

/* By fixed I/O if possible, otherwise by a copy; returns true if the answer is ready. */
static bool begin_request(struct fixed_server *s, int tag, int *ret_result)
{
	const struct ubdsrv_io_desc *desc = fixed_desc(s, tag);
	bool writes = ubd_desc_op(desc) == UBD_IO_OP_WRITE;
	size_t bytes = desc->nr_sectors * 512;
	off_t off = desc->start_sector * 512;
	uint8_t *data;

	CHECK_EQ(desc->addr, tag);
	*ret_result = 0;
	if (!writes && ubd_desc_op(desc) != UBD_IO_OP_READ) {
		CHECK(!(desc->op_flags & UBD_IO_F_REGISTERED));
		return true;
	}
	if (desc->op_flags & UBD_IO_F_REGISTERED) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

		if (writes)
			io_uring_prep_write_fixed(sqe, s->file, NULL, bytes, off, tag);
		else
			io_uring_prep_read_fixed(sqe, s->file, NULL, bytes, off, tag);
		sqe->user_data = tag | IS_FIXED_IO;
		CHECK_EQ(io_uring_submit(&s->ring), 1);
		s->nr_fixed++;
		return false;
	}
	data = aligned(bytes);
	if (writes) {
		CHECK_EQ(pread(s->server.cdev, data, bytes, ubd_data_offset(0, tag)), bytes);
		CHECK_EQ(pwrite(s->file, data, bytes, off), bytes);
	} else {
		CHECK_EQ(pread(s->file, data, bytes, off), bytes);
		CHECK_EQ(pwrite(s->server.cdev, data, bytes, ubd_data_offset(0, tag)), bytes);
	}
	free(data);
	*ret_result = bytes;
	return true;
}

/* What one completion asks for. */
static void handle(struct fixed_server *s, unsigned int user_data, int res)
{
	int tag = user_data & 0xffff, result = res;

	if (!(user_data & IS_FIXED_IO)) {
		CHECK_EQ(res, UBD_IO_RES_OK);
		if (fixed_desc(s, tag)->start_sector >= KEPT_SECTOR) {
			s->kept = tag;
			return;
		}
		if (!begin_request(s, tag, &result))
			return;
	}
	fixed_send(s, &s->ring, UBD_IO_COMMIT_AND_FETCH_REQ, tag, result);
}

void fixed_serve_while(struct fixed_server *s, bool (*goes_on)(struct fixed_server *, int), int arg)
{
	struct __kernel_timespec tick = { .tv_nsec = 2000000 };
	struct io_uring_cqe *cqe;
	unsigned int user_data;
	double end = now() + AGE;
	int res;

	while (goes_on(s, arg)) {
		CHECK(now() < end);
		if (io_uring_wait_cqe_timeout(&s->ring, &cqe, &tick))
			continue;
		user_data = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&s->ring, cqe);
		handle(s, user_data, res);
	}
}

static bool is_not_in_state(struct fixed_server *s, int state)
{
	return get_state(s->server.control) != state;
}

bool fixed_keeps_none(struct fixed_server *s, int arg)
{
	return s->kept < 0;
}

void *fixed_start(void *arg)
{
	server_start(arg);
	return NULL;
}

void *fixed_end_recovery(void *arg)
{
	CHECK_EQ(control(((struct server *)arg)->control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	return NULL;
}

void fixed_go_live(struct fixed_server *s, void *(*how)(void *))
{
	pthread_t thread;

	server_open(&s->server);
	fetch_all(s);
	CHECK_EQ(pthread_create(&thread, NULL, how, &s->server), 0);
	fixed_serve_while(s, is_not_in_state, UBD_S_DEV_LIVE);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	set(&shared->control, s->server.control);
	set(&shared->ring, s->ring.ring_fd);
	set(&shared->id, s->server.info.dev_id);
}

void fixed_run(struct fixed_server *s, uint64_t flags, unsigned int nr_buffers)
{
	s->file = memfd_create("disk", MFD_CLOEXEC);
	CHECK_EQ(ftruncate(s->file, usual_params().dev_sectors * 512), 0);
	fixed_init(s, flags, nr_buffers);
	server_add(&s->server);
	fixed_go_live(s, fixed_start);
}

void fixed_delete(struct fixed_server *s)
{
	CHECK_EQ(control(s->server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	io_uring_queue_exit(&s->ring);
	close(s->server.cdev);
	close(s->server.control);
	close(s->file);
}

bool fixed_client_runs(struct fixed_server *s, int pid)
{
	siginfo_t info = {};

	CHECK_EQ(waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid == 0;
}

int fixed_spawn_client(struct fixed_server *s, void (*run)(void *))
{
	int pid = spawn(run, NULL);

	fixed_serve_while(s, fixed_keeps_none, 0);
	return pid;
}

int fixed_commit(struct fixed_server *s, struct io_uring *ring, int result)
{
	struct io_uring_cqe *cqe;
	int res;

	fixed_send(s, ring, UBD_IO_COMMIT_REQ, s->kept, result);
	CHECK_EQ(io_uring_wait_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}
