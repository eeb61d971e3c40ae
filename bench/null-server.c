// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * null-bench: the server, with one thread per queue. With commands for single tags it answers each
 * request with a command; with batches it gathers the answers of a turn and sends one command for
 * all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ubd_cmd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fetch_wire.h"
#include "null-bench.h"
#include "params.h"

/* user_data: the tag for commands for single tags; the tag and FILE_IO for I/O of the file. */
#define FILE_IO	     (1u << 16)
#define FETCH_BATCH  (1u << 17)
#define COMMIT_BATCH (1u << 18)

/* IORING_URING_CMD_MULTISHOT, which Debian 12's headers do not have yet. */
#define MULTISHOT    (1u << 1)
#define BUFFER_GROUP 0

struct queue {
	unsigned id;
	pthread_t thread;
	struct io_uring ring;
	const char *descs;
	char *buffers;
	struct request_desc requests[DEPTH]; /* by tag */
	unsigned pending;		     /* commands that wait for requests, or will do so */

	/* With batches. */
	struct io_uring_buf_ring *tag_ring;
	uint16_t (*tags)[DEPTH]; /* the DEPTH buffers of tag_ring */
	struct fetch_entry *entries;
	unsigned nr_entries;
};

static struct server_options options;
static const struct fetch_wire *wire;
static struct queue queues[MAX_QUEUES];
static unsigned nr_queues;
static struct transport *transport;
static int cdev;

static uint64_t buffer_of(const struct queue *q, unsigned tag)
{
	return (uintptr_t)(q->buffers + (size_t)tag * IO_BYTES);
}

static struct io_uring_sqe *get_command(struct queue *q, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, cdev, NULL, 0, 0);
	io_uring_sqe_set_data64(sqe, user_data);
	return sqe;
}

/* ---- single tags ---- */

static void send_alone(struct queue *q)
{
	if (options.one_by_one)
		io_uring_submit(&q->ring);
}

static void send_fetch_of(struct queue *q, unsigned tag)
{
	wire->prep_first(get_command(q, tag), q->id, tag, buffer_of(q, tag));
	send_alone(q);
}

static void answer_tag(struct queue *q, unsigned tag, int result)
{
	struct io_uring_sqe *sqe = get_command(q, tag);

	wire->prep_answer(sqe, q->id, tag, result, buffer_of(q, tag));
	/* Only ubd has this command, which ubd-serve never sends; its argument is the same. */
	if (options.two_commands) {
		sqe->cmd_op = UBD_IO_COMMIT_REQ;
		sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	}
	send_alone(q);
	if (options.two_commands)
		send_fetch_of(q, tag);
}

/* ---- batches ---- */

static void gather(struct queue *q, unsigned tag, int result)
{
	q->entries[q->nr_entries++] = (struct fetch_entry){
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
		wire->prep_first_batch(sqe, q->id, q->entries, q->nr_entries);
	else
		wire->prep_answers(sqe, q->id, q->entries, q->nr_entries);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	q->nr_entries = 0;
}

static void send_fetch(struct queue *q)
{
	struct io_uring_sqe *sqe = get_command(q, FETCH_BATCH);

	wire->prep_announce(sqe, q->id);
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
	if (options.batches)
		gather(q, tag, result);
	else
		answer_tag(q, tag, result);
}

static void pass_on(struct queue *q, unsigned tag, const struct request_desc *desc)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	io_uring_prep_rw(desc->op == REQUEST_WRITE ? IORING_OP_WRITE : IORING_OP_READ, sqe,
			 options.file_fd, (void *)(uintptr_t)buffer_of(q, tag), desc->bytes,
			 desc->guest_off);
	io_uring_sqe_set_data64(sqe, tag | FILE_IO);
}

static void serve_request(struct queue *q, unsigned tag)
{
	struct request_desc *desc = &q->requests[tag];

	wire->describe(q->descs + tag * wire->desc_bytes, desc);
	if (options.file_fd >= 0)
		pass_on(q, tag, desc);
	else
		answer(q, tag, desc->bytes);
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
	if (cqe->res == wire->res_ended)
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
	else if (cqe->res == wire->res_ended)
		q->pending--;
	else if (cqe->res != 0)
		die("the driver refused a command", -cqe->res);
	else
		serve_request(q, tag);
}

static void fetch_tags(struct queue *q)
{
	q->pending = DEPTH;
	for (unsigned tag = 0; tag < DEPTH; tag++)
		send_fetch_of(q, tag);
}

static void *serve(void *arg)
{
	struct queue *q = arg;
	struct io_uring_cqe *cqe;

	init_ring(&q->ring, 2 * DEPTH);
	if (options.batches)
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

static void check_done(const char *what, int res)
{
	if (res < 0)
		die(what, -res);
}

static void check_error(const GError *err)
{
	if (err)
		die(err->message, err->code);
}

/*
 * By default, the kernel may give a scheduler to a disk with one queue, but not to one with
 * several.
 */
static void set_no_scheduler(void)
{
	g_autofree char *disk = g_path_get_basename(transport->path);
	g_autofree char *path = g_strdup_printf("/sys/block/%s/queue/scheduler", disk);
	int fd = check(path, open(path, O_WRONLY));

	check(path, write(fd, "none", 4));
	close(fd);
}

static void add_disk(const struct disk *disk)
{
	struct transport_info info = {
		.id = TRANSPORT_ANY_ID,
		.queues = disk->nr_queues,
		.depth = DEPTH,
		.max_io_bytes = IO_BYTES,
		.data = DATA_COPY,
		.batches = options.batches,
	};
	const struct device_params params = {
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 4096,
		.io_opt = 4096,
		.max_io_sectors = IO_BYTES >> 9,
		.dev_sectors = disk->bytes >> 9,
	};
	GError *err = NULL;

	transport = options.driver->add(&info, NULL, &err);
	check_error(err);
	if (info.queues != disk->nr_queues)
		die("not enough CPUs for the queues", EINVAL);
	check_done("the parameters", options.driver->set_params(transport, &params));
	cdev = options.driver->open_server_file(transport, &err);
	check_error(err);
}

void server_start(const struct server_options *what, struct disk *disk)
{
	options = *what;
	wire = what->wire;
	nr_queues = disk->nr_queues;
	add_disk(disk);
	for (unsigned i = 0; i < nr_queues; i++) {
		struct queue *q = &queues[i];

		q->id = i;
		q->buffers = allocate(DEPTH * IO_BYTES);
		q->descs = mmap(NULL, DEPTH * wire->desc_bytes, PROT_READ, MAP_SHARED, cdev,
				i * wire->desc_stride);
		if (q->descs == MAP_FAILED)
			die("mmap", errno);
		start_thread(&q->thread, serve, q);
	}
	check_done("the start", options.driver->start(transport));
	set_no_scheduler();
	g_strlcpy(disk->path, transport->path, sizeof(disk->path));
}

void server_end(void)
{
	check_done("the end", options.driver->stop(transport));
	for (unsigned i = 0; i < nr_queues; i++) {
		pthread_join(queues[i].thread, NULL);
		munmap((void *)queues[i].descs, DEPTH * wire->desc_bytes);
	}
	close(cdev);
	check_done("the end", options.driver->delete (transport));
	transport_free(transport);
}
