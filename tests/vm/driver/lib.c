// SPDX-License-Identifier: GPL-2.0-or-later
/* Control commands, and the server in memory; see lib.h. */
#include "batches.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- control commands ---- */

static int wait_result(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	do {
		res = io_uring_wait_cqe(ring, &cqe);
	} while (res == -EINTR);
	CHECK_EQ(res, 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/*
 * A ring of the thread that stays: on Linux 7.2 a command that needs a worker may wait forever if
 * it comes just after the thread's last ring was closed, which ends the worker.
 */
static struct io_uring *command_ring(void)
{
	static __thread struct io_uring ring;
	static __thread pid_t owner;

	if (owner != gettid()) {
		CHECK_EQ(io_uring_queue_init(2, &ring, 0), 0);
		owner = gettid();
	}
	return &ring;
}

int command(int fd, uint32_t op, const void *arg)
{
	struct io_uring *ring = command_ring();
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, arg, 16);
	CHECK_EQ(io_uring_submit(ring), 1);
	return wait_result(ring);
}

int control(int fd, uint32_t op, void *buf, size_t len)
{
	struct ubdsrv_ctrl_cmd cmd = { .len = len, .addr = (uintptr_t)buf };

	return command(fd, op, &cmd);
}

static int on_control_node(uint32_t op, void *buf, size_t len)
{
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);
	int res;

	CHECK(fd >= 0);
	res = control(fd, op, buf, len);
	close(fd);
	return res;
}

int add_dev(struct ubdsrv_ctrl_dev_info *info)
{
	return on_control_node(UBD_CMD_ADD_DEV, info, sizeof(*info));
}

int open_dev(uint32_t id)
{
	struct ubd_open_dev arg = { .dev_id = id };

	return on_control_node(UBD_CMD_OPEN_DEV, &arg, sizeof(arg));
}

struct ubdsrv_ctrl_dev_info usual_info(void)
{
	return (struct ubdsrv_ctrl_dev_info){
		.nr_hw_queues = 2,
		.queue_depth = 8,
		.dev_id = UBD_DEV_ID_ANY,
		.max_io_bytes = 128 << 10,
	};
}

struct ubd_params usual_params(void)
{
	return (struct ubd_params){
		.attrs = UBD_ATTR_VOLATILE_CACHE | UBD_ATTR_FUA,
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 4096,
		.io_opt = 65536,
		.max_io_sectors = 256,
		.discard_granularity = 4096,
		.max_discard_sectors = 2048,
		.max_write_zeroes_sectors = 2048,
		.dev_sectors = 32768,
	};
}

uint64_t get_features(void)
{
	uint64_t features;

	CHECK_EQ(on_control_node(UBD_CMD_GET_FEATURES, &features, sizeof(features)), 0);
	return features;
}

int get_state(int control_fd)
{
	struct ubdsrv_ctrl_dev_info info;

	CHECK_EQ(control(control_fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	return info.state;
}

const char *char_node(uint32_t id)
{
	static __thread char path[32];

	snprintf(path, sizeof(path), "/dev/ubdc%u", id);
	return path;
}

const char *block_node(uint32_t id)
{
	static __thread char path[32];

	snprintf(path, sizeof(path), "/dev/ubdb%u", id);
	return path;
}

bool exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

int listen_to_uevents(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	CHECK(fd >= 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length >= end_length && !strcmp(text + length - end_length, end);
}

/* A message is "ACTION@PATH" and then NAME=VALUE strings, each with its final zero. */
void wait_for_uevent(int fd, const char *path_end, const char *variable)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char text[4096];

	for (;;) {
		ssize_t len;

		CHECK_EQ(poll(&poll_fd, 1, AGE * 1000), 1);
		len = recv(fd, text, sizeof(text) - 1, 0);
		CHECK(len > 0);
		text[len] = '\0';
		if (strncmp(text, "change@", 7) == 0 && ends_with(text, path_end) &&
		    memmem(text, len, variable, strlen(variable) + 1))
			return;
	}
}

/* ---- the server ---- */

uint64_t server_data_path;
bool server_by_batches;

void server_init(struct server *server)
{
	*server = (struct server){
		.info = usual_info(),
		.params = usual_params(),
		.handle = server_handle,
		.control = -1,
		.cdev = -1,
	};
}

int server_handle(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	uint8_t *place = server->memory + desc->start_sector * 512;
	size_t bytes = (size_t)desc->nr_sectors * 512;

	switch (ubd_desc_op(desc)) {
	case UBD_IO_OP_READ:
		memcpy(buffer, place, bytes);
		return bytes;
	case UBD_IO_OP_WRITE:
		memcpy(place, buffer, bytes);
		return bytes;
	case UBD_IO_OP_DISCARD:
	case UBD_IO_OP_WRITE_ZEROES:
		memset(place, 0, bytes);
		return 0;
	case UBD_IO_OP_FLUSH:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

void server_add(struct server *server)
{
	server->info.flags |= server_data_path | (server_by_batches ? UBD_F_BATCH : 0);
	server->control = add_dev(&server->info);
	CHECK(server->control >= 0);
	CHECK_EQ(control(server->control, UBD_CMD_SET_PARAMS, &server->params,
			 sizeof(server->params)),
		 0);
	if (server->memory)
		return;
	server->memory = mmap(NULL, server->params.dev_sectors * 512, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(server->memory != MAP_FAILED);
}

static size_t descs_size(const struct server *server)
{
	return (server->info.queue_depth * sizeof(struct ubdsrv_io_desc) + 4095) & ~4095UL;
}

uint8_t *server_buffer(struct server_queue *queue, uint16_t tag)
{
	return queue->buffers + (size_t)tag * queue->server->info.max_io_bytes;
}

static void map_queue(struct server *server, uint16_t q_id)
{
	struct server_queue *queue = &server->queues[q_id];
	size_t size = (size_t)server->info.queue_depth * server->info.max_io_bytes;

	queue->server = server;
	queue->q_id = q_id;
	queue->descs = mmap(NULL, descs_size(server), PROT_READ, MAP_SHARED, server->cdev,
			    ubd_desc_mmap_offset(q_id));
	CHECK(queue->descs != MAP_FAILED);
	queue->buffers = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(queue->buffers != MAP_FAILED);
}

void server_map(struct server *server)
{
	server->queues = calloc(server->info.nr_hw_queues, sizeof(*server->queues));
	for (uint16_t i = 0; i < server->info.nr_hw_queues; i++)
		map_queue(server, i);
}

void server_open(struct server *server)
{
	server->cdev = open(char_node(server->info.dev_id), O_RDWR | O_CLOEXEC);
	CHECK(server->cdev >= 0);
	server_map(server);
}

void server_open_by_control(struct server *server)
{
	server->cdev = control(server->control, UBD_CMD_OPEN_CHAR, NULL, 0);
	CHECK(server->cdev >= 0);
	server_map(server);
}

void prep_io(struct io_uring_sqe *sqe, int cdev, uint32_t op, uint16_t q_id, uint16_t tag,
	     int32_t result, void *buffer)
{
	struct ubdsrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = tag,
		.result = result,
		.addr = server_data_path ? 0 : (uintptr_t)buffer,
	};

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, cdev, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	sqe->user_data = tag;
}

int io_command(int cdev, uint32_t op, uint16_t q_id, uint16_t tag, int32_t result, void *buffer)
{
	struct ubdsrv_io_cmd cmd = {
		.q_id = q_id,
		.tag = tag,
		.result = result,
		.addr = (uintptr_t)buffer,
	};

	return command(cdev, op, &cmd);
}

static void *fetch_buffer(struct server_queue *queue, uint16_t tag)
{
	return queue->server->info.flags & UBD_F_USER_COPY ? NULL : server_buffer(queue, tag);
}

static void queue_io(struct server_queue *queue, uint32_t op, uint16_t tag, int32_t result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);

	CHECK(sqe);
	prep_io(sqe, queue->server->cdev, op, queue->q_id, tag, result, fetch_buffer(queue, tag));
}

static void add_entry(struct server_queue *queue, uint16_t flags, uint16_t tag, int32_t result)
{
	queue->entries[queue->nr_entries++] = (struct ubd_batch_entry){
		.tag = tag,
		.flags = flags,
		.result = result,
		.addr = (uintptr_t)fetch_buffer(queue, tag),
	};
}

/* With UBD_F_USER_COPY; only fails when the device is ending. */
static void move_data(struct server_queue *queue, uint16_t tag, uint8_t op)
{
	const struct server *server = queue->server;
	const struct ubdsrv_io_desc *desc = &queue->descs[tag];
	size_t bytes = (size_t)desc->nr_sectors * 512;
	off_t off = ubd_data_offset(queue->q_id, tag);
	ssize_t res = bytes;

	if (!(server->info.flags & UBD_F_USER_COPY) || ubd_desc_op(desc) != op)
		return;
	if (op == UBD_IO_OP_WRITE)
		res = pread(server->cdev, server_buffer(queue, tag), bytes, off);
	else
		res = pwrite(server->cdev, server_buffer(queue, tag), bytes, off);
	if (res < 0)
		CHECK_EQ(errno, ENODEV);
	else
		CHECK_EQ(res, bytes);
}

/* The result of a tag's request, or SERVER_KEEP. */
static int serve_request(struct server_queue *queue, uint16_t tag)
{
	struct server *server = queue->server;
	int result;

	move_data(queue, tag, UBD_IO_OP_WRITE);
	result = server->handle(server, &queue->descs[tag], server_buffer(queue, tag));
	if (result != SERVER_KEEP)
		move_data(queue, tag, UBD_IO_OP_READ);
	return result;
}

/* Returns how many FETCHes wait after it. */
static int answer(struct server_queue *queue, const struct io_uring_cqe *cqe, int pending)
{
	uint16_t tag = cqe->user_data;
	int result;

	if (cqe->res != UBD_IO_RES_OK) {
		CHECK_EQ(cqe->res, UBD_IO_RES_ABORT);
		return pending - 1;
	}
	result = serve_request(queue, tag);
	if (result == SERVER_KEEP)
		return pending - 1;
	queue_io(queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, result);
	return pending;
}

/* Returns whether the FETCH_BATCH waits after it. */
static bool answer_batch(struct server_queue *queue, struct batch *batch,
			 const struct io_uring_cqe *cqe)
{
	uint16_t tags[TAGS_PER_BUFFER];
	unsigned int nr;

	if (cqe->user_data != FETCH_DATA) {
		if (cqe->res != UBD_IO_RES_ABORT)
			CHECK_EQ(cqe->user_data, COMMIT_DATA(cqe->res));
		return true;
	}
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		if (cqe->res == UBD_IO_RES_ABORT)
			return false;
		CHECK_EQ(cqe->res, -ENOBUFS);
		batch_fetch(batch);
		return true;
	}
	nr = batch_take(batch, cqe, tags);
	for (unsigned int i = 0; i < nr; i++) {
		int result = serve_request(queue, tags[i]);

		if (result != SERVER_KEEP)
			add_entry(queue, UBD_BATCH_COMMIT | UBD_BATCH_FETCH, tags[i], result);
	}
	return true;
}

static void send_entries(struct server_queue *queue)
{
	struct io_uring_sqe *sqe;

	if (!queue->nr_entries)
		return;
	sqe = io_uring_get_sqe(&queue->ring);
	CHECK(sqe);
	prep_commit_batch(sqe, queue->server->cdev, queue->q_id, queue->entries, queue->nr_entries);
	queue->nr_entries = 0;
}

static void *batch_thread(void *arg)
{
	struct server_queue *queue = arg;
	int depth = queue->server->info.queue_depth;
	struct io_uring_cqe *cqe;
	struct batch batch;
	bool fetches = true;

	CHECK_EQ(io_uring_queue_init(depth * 2, &queue->ring, 0), 0);
	queue->entries = calloc(depth, sizeof(*queue->entries));
	batch_init(&batch, &queue->ring, queue->server->cdev, queue->q_id, NR_TAG_BUFFERS,
		   TAGS_PER_BUFFER);
	for (int tag = 0; tag < depth; tag++)
		add_entry(queue, UBD_BATCH_FETCH, tag, 0);
	batch_fetch(&batch);
	while (fetches) {
		int res;

		send_entries(queue);
		res = io_uring_submit_and_wait(&queue->ring, 1);
		CHECK(res >= 0 || res == -EINTR);
		while (fetches && io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
			fetches = answer_batch(queue, &batch, cqe);
			io_uring_cqe_seen(&queue->ring, cqe);
		}
	}
	/* QUIESCE and STOP_DEV leave time for what is not answered yet. */
	send_entries(queue);
	io_uring_submit(&queue->ring);
	io_uring_queue_exit(&queue->ring);
	return NULL;
}

static void *queue_thread(void *arg)
{
	struct server_queue *queue = arg;
	int pending = queue->server->info.queue_depth;
	struct io_uring_cqe *cqe;

	CHECK_EQ(io_uring_queue_init(pending * 2, &queue->ring, 0), 0);
	for (int tag = 0; tag < pending; tag++)
		queue_io(queue, UBD_IO_FETCH_REQ, tag, 0);
	while (pending) {
		int res = io_uring_submit_and_wait(&queue->ring, 1);

		CHECK(res >= 0 || res == -EINTR);
		while (io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
			pending = answer(queue, cqe, pending);
			io_uring_cqe_seen(&queue->ring, cqe);
		}
	}
	io_uring_queue_exit(&queue->ring);
	return NULL;
}

void server_serve(struct server *server)
{
	for (int i = 0; i < server->info.nr_hw_queues; i++)
		CHECK_EQ(pthread_create(&server->queues[i].thread, NULL,
					server->info.flags & UBD_F_BATCH ? batch_thread
									 : queue_thread,
					&server->queues[i]),
			 0);
}

void server_start(struct server *server)
{
	CHECK_EQ(control(server->control, UBD_CMD_START_DEV, NULL, 0), 0);
}

void server_run(struct server *server)
{
	server_add(server);
	server_open(server);
	server_serve(server);
	server_start(server);
}

void server_attach(struct server *server, uint32_t id)
{
	server->control = open_dev(id);
	CHECK(server->control >= 0);
	CHECK_EQ(
		control(server->control, UBD_CMD_GET_DEV_INFO, &server->info, sizeof(server->info)),
		0);
	CHECK_EQ(control(server->control, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	server_open(server);
	server_serve(server);
}

void server_recover(struct server *server, uint32_t id)
{
	server_attach(server, id);
	CHECK_EQ(control(server->control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
}

void server_delete(struct server *server)
{
	CHECK_EQ(control(server->control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	for (int i = 0; i < server->info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server->queues[i].thread, NULL), 0);
	close(server->cdev);
	close(server->control);
}

/* ---- its client ---- */

int open_disk(uint32_t id, int flags)
{
	int fd = open(block_node(id), flags | O_DIRECT | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

void *aligned(size_t size)
{
	void *memory;

	CHECK_EQ(posix_memalign(&memory, 4096, size), 0);
	memset(memory, 0, size);
	return memory;
}
