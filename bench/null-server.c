// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * null-bench: the server, a thread for each queue. By the commands for single tags it answers a
 * request with a command; by batches it gathers the answers of a turn, and sends one command for
 * all of them.
 */
#include "null-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* user_data of commands for single tags is the tag; of what goes to the file, the tag and this. */
#define FILE_IO	     (1u << 16)
#define FETCH_BATCH  (1u << 17)
#define COMMIT_BATCH (1u << 18)

/* IORING_URING_CMD_MULTISHOT, which Debian 12 does not know yet. */
#define MULTISHOT    (1u << 1)
#define BUFFER_GROUP 0

struct queue {
	unsigned id;
	pthread_t thread;
	struct io_uring ring;
	const struct ubdsrv_io_desc *descs;
	char *buffers;
	unsigned pending; /* tags that are fetched, or will be; 1 while there is a fetch for all */

	/* By batches. */
	struct io_uring_buf_ring *tag_ring;
	uint16_t (*tags)[DEPTH]; /* the buffers of tag_ring: DEPTH of them */
	struct ubd_batch_entry *entries;
	unsigned nr_entries;
};

static struct server_options options;
static struct queue queues[MAX_QUEUES];
static int cdev;

static bool uses_batches(void)
{
	return options.driver->prep_fetch;
}

static uint64_t buffer_of(const struct queue *q, unsigned tag)
{
	return (uintptr_t)(q->buffers + (size_t)tag * IO_BYTES);
}

static struct io_uring_sqe *get_command(struct queue *q, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, cdev, NULL, 0, 0);
	memset(sqe->cmd, 0, sizeof(struct ubdsrv_io_cmd));
	io_uring_sqe_set_data64(sqe, user_data);
	return sqe;
}

/* ---- single tags ---- */

static void send_command(struct queue *q, uint32_t op, unsigned tag, int result)
{
	struct io_uring_sqe *sqe = get_command(q, tag);
	struct ubdsrv_io_cmd cmd = {
		.q_id = q->id,
		.tag = tag,
		.result = result,
		.addr = buffer_of(q, tag),
	};

	sqe->cmd_op = op;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	if (op == options.driver->commit)
		sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	if (options.one_by_one)
		io_uring_submit(&q->ring);
}

static void answer_tag(struct queue *q, unsigned tag, int result)
{
	if (!options.two_commands) {
		send_command(q, options.driver->commit_and_fetch, tag, result);
		return;
	}
	send_command(q, options.driver->commit, tag, result);
	send_command(q, options.driver->fetch, tag, 0);
}

/* ---- batches ---- */

static void gather(struct queue *q, unsigned tag, int result)
{
	q->entries[q->nr_entries++] = (struct ubd_batch_entry){
		.tag = tag,
		.result = result,
		.addr = buffer_of(q, tag),
	};
}

/* The entries are read when the command is issued, which is in the next system call. */
static void send_entries(struct queue *q, bool first)
{
	struct io_uring_sqe *sqe;

	if (!q->nr_entries)
		return;
	sqe = get_command(q, COMMIT_BATCH);
	if (first)
		options.driver->prep_first(sqe, q->id, q->entries, q->nr_entries);
	else
		options.driver->prep_commit(sqe, q->id, q->entries, q->nr_entries);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	q->nr_entries = 0;
}

static void send_fetch(struct queue *q)
{
	struct io_uring_sqe *sqe = get_command(q, FETCH_BATCH);

	options.driver->prep_fetch(sqe, q->id);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->uring_cmd_flags = MULTISHOT;
	sqe->buf_group = BUFFER_GROUP;
}

static void give_tag_buffer(struct queue *q, unsigned index)
{
	io_uring_buf_ring_add(q->tag_ring, q->tags[index], sizeof(q->tags[index]), index,
			      io_uring_buf_ring_mask(DEPTH), 0);
	io_uring_buf_ring_advance(q->tag_ring, 1);
}

static void fetch_batches(struct queue *q)
{
	struct io_uring_buf_reg reg = { .ring_entries = DEPTH, .bgid = BUFFER_GROUP };
	int ret;

	q->tag_ring = allocate(DEPTH * sizeof(struct io_uring_buf));
	q->tags = allocate(DEPTH * sizeof(*q->tags));
	q->entries = allocate(DEPTH * sizeof(*q->entries));
	reg.ring_addr = (uintptr_t)q->tag_ring;
	ret = io_uring_register_buf_ring(&q->ring, &reg, 0);
	if (ret)
		die("a ring of buffers", -ret);
	io_uring_buf_ring_init(q->tag_ring);
	for (unsigned i = 0; i < DEPTH; i++)
		give_tag_buffer(q, i);
	for (unsigned tag = 0; tag < DEPTH; tag++)
		gather(q, tag, 0);
	send_entries(q, true);
	send_fetch(q);
	q->pending = 1;
}

/* ---- either ---- */

static void answer(struct queue *q, unsigned tag, int result)
{
	if (uses_batches())
		gather(q, tag, result);
	else
		answer_tag(q, tag, result);
}

static void pass_on(struct queue *q, unsigned tag)
{
	const struct ubdsrv_io_desc *desc = &q->descs[tag];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
	bool write = ubd_desc_op(desc) == UBD_IO_OP_WRITE;

	io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, options.file_fd,
			 (void *)(uintptr_t)desc->addr, desc->nr_sectors << 9,
			 desc->start_sector << 9);
	io_uring_sqe_set_data64(sqe, tag | FILE_IO);
}

static void serve_request(struct queue *q, unsigned tag)
{
	if (options.file_fd >= 0)
		pass_on(q, tag);
	else
		answer(q, tag, q->descs[tag].nr_sectors << 9);
}

static void complete_fetch_batch(struct queue *q, const struct io_uring_cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_BUFFER) {
		unsigned index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		for (int i = 0; i < cqe->res / (int)sizeof(uint16_t); i++)
			serve_request(q, q->tags[index][i]);
		give_tag_buffer(q, index);
	}
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	if (cqe->res == UBD_IO_RES_ABORT)
		q->pending = 0;
	else if (cqe->res >= 0 || cqe->res == -ENOBUFS)
		send_fetch(q);
	else
		die("the driver refused a fetch", -cqe->res);
}

static void complete(struct queue *q, const struct io_uring_cqe *cqe)
{
	unsigned tag = cqe->user_data & (FILE_IO - 1);

	if (cqe->user_data == FETCH_BATCH)
		complete_fetch_batch(q, cqe);
	else if (cqe->user_data == COMMIT_BATCH)
		die("the driver refused a batch", cqe->res < 0 ? -cqe->res : EIO);
	else if (cqe->user_data & FILE_IO)
		answer(q, tag, cqe->res);
	else if (cqe->res == UBD_IO_RES_ABORT)
		q->pending--;
	else if (cqe->res != UBD_IO_RES_OK)
		die("the driver refused a command", -cqe->res);
	else
		serve_request(q, tag);
}

static void fetch_tags(struct queue *q)
{
	q->pending = DEPTH;
	for (unsigned tag = 0; tag < DEPTH; tag++)
		send_command(q, options.driver->fetch, tag, 0);
}

static void *serve(void *arg)
{
	struct queue *q = arg;
	struct io_uring_cqe *cqe;

	init_ring(&q->ring, 2 * DEPTH);
	if (uses_batches())
		fetch_batches(q);
	else
		fetch_tags(q);
	while (q->pending) {
		unsigned head, count = 0;
		int ret;

		send_entries(q, false);
		ret = io_uring_submit_and_wait(&q->ring, 1);
		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter", -ret);
		io_uring_for_each_cqe(&q->ring, head, cqe) {
			count++;
			complete(q, cqe);
		}
		io_uring_cq_advance(&q->ring, count);
	}
	io_uring_queue_exit(&q->ring);
	return NULL;
}

/* ---- the disk ---- */

/* Left to the kernel a disk of one queue may get a scheduler, and one of several has none. */
static void set_no_scheduler(const struct disk *disk)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%sb%u/queue/scheduler", options.driver->node,
		 disk->id);
	fd = check(path, open(path, O_WRONLY));
	check(path, write(fd, "none", 4));
	close(fd);
}

void server_start(const struct server_options *what, struct disk *disk)
{
	unsigned nr_queues = disk->nr_queues;

	options = *what;
	options.driver->add(disk);
	cdev = disk->cdev;
	if (disk->nr_queues != nr_queues)
		die("not enough CPUs for the queues", EINVAL);
	for (unsigned i = 0; i < disk->nr_queues; i++) {
		struct queue *q = &queues[i];

		q->id = i;
		q->buffers = allocate(DEPTH * IO_BYTES);
		q->descs = mmap(NULL, DEPTH * sizeof(*q->descs), PROT_READ, MAP_SHARED, cdev,
				i * options.driver->desc_stride);
		if (q->descs == MAP_FAILED)
			die("mmap", errno);
		start_thread(&q->thread, serve, q);
	}
	options.driver->start(disk);
	set_no_scheduler(disk);
}

void server_end(struct disk *disk)
{
	options.driver->stop(disk);
	for (unsigned i = 0; i < disk->nr_queues; i++) {
		pthread_join(queues[i].thread, NULL);
		munmap((void *)queues[i].descs, DEPTH * sizeof(*queues[i].descs));
	}
	options.driver->remove(disk);
}
