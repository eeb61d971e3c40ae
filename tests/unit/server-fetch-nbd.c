// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching from nbd.ko, which is played here: the other end of a socket sends requests, whole and
 * in pieces, good and bad, and receives the answers.
 */
#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fetch.h"
#include "nbd_protocol.h"

#define DEPTH	 4
#define MAX_IO	 (128u << 10)
#define MAX_SEEN 64

/* ---- the queue ---- */

struct seen {
	uint16_t tag;
	struct request_desc desc;
};

struct queue {
	struct aio_loop *loop;
	struct data_path *data;
	struct fetch *fetch;
	int kernel, ours; /* the two ends */
	struct seen seen[MAX_SEEN];
	unsigned nr_seen, nr_begun;
	bool heard; /* an answer */
	int refused;
	unsigned nr_over;
	struct coroutine *waiter;
};

static void news(struct queue *queue)
{
	struct coroutine *waiter = queue->waiter;

	queue->waiter = NULL;
	if (waiter)
		co_wake(waiter);
}

static void on_request(void *arg, uint16_t tag, const struct request_desc *desc)
{
	struct queue *queue = arg;

	g_assert_cmpuint(queue->nr_over, ==, 0);
	g_assert_cmpuint(queue->nr_seen, <, MAX_SEEN);
	queue->seen[queue->nr_seen++] = (struct seen){ tag, *desc };
	news(queue);
}

static void on_begin(void *arg)
{
	struct queue *queue = arg;

	g_assert_cmpuint(queue->nr_seen, ==, ++queue->nr_begun);
}

static void on_refused(void *arg, int error)
{
	((struct queue *)arg)->refused = error;
}

static void on_over(void *arg)
{
	struct queue *queue = arg;

	queue->nr_over++;
	news(queue);
}

static const struct fetch_events events = {
	.request = on_request,
	.begin = on_begin,
	.refused = on_refused,
	.over = on_over,
};

static void co_wait_seen(struct queue *queue, unsigned count)
{
	while (queue->nr_seen < count) {
		g_assert_cmpuint(queue->nr_over, ==, 0);
		queue->waiter = co_self();
		co_yield();
	}
}

/* Until the queue has ended, with @error. */
static void co_wait_over(struct queue *queue, int error)
{
	while (!queue->nr_over) {
		queue->waiter = co_self();
		co_yield();
	}
	g_assert_cmpuint(queue->nr_over, ==, 1);
	g_assert_cmpint(queue->refused, ==, error);
}

static uint8_t *buffer(const struct queue *queue, unsigned index)
{
	return (uint8_t *)(uintptr_t)data_fetch_addr(queue->data, queue->seen[index].tag);
}

static void answer(struct queue *queue, unsigned index, int32_t result)
{
	fetch_answer(queue->fetch, queue->seen[index].tag, result);
}

/* ---- the kernel ---- */

static struct nbd_request request(unsigned type, uint64_t cookie, uint64_t offset, uint32_t length)
{
	return (struct nbd_request){
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(type),
		.cookie = cookie,
		.offset = htobe64(offset),
		.length = htobe32(length),
	};
}

static void co_say(struct queue *queue, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	while (bytes) {
		ssize_t sent = co_send(queue->kernel, at, bytes, NULL);

		g_assert_cmpint(sent, >, 0);
		at += sent;
		bytes -= sent;
	}
}

static void co_ask(struct queue *queue, unsigned type, uint64_t cookie, uint64_t offset,
		   uint32_t length)
{
	struct nbd_request wire = request(type, cookie, offset, length);

	co_say(queue, &wire, sizeof(wire));
}

static void co_hear(struct queue *queue, void *data, size_t bytes)
{
	uint8_t *at = data;

	while (bytes) {
		ssize_t got = co_recv(queue->kernel, at, bytes, NULL);

		g_assert_cmpint(got, >, 0);
		at += got;
		bytes -= got;
	}
}

static void co_expect(struct queue *queue, uint64_t cookie, uint32_t error)
{
	struct nbd_simple_reply reply = { .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC) };
	size_t skip = queue->heard ? 0 : sizeof(reply.magic);

	/* The beginning of the first answer was sent before. */
	co_hear(queue, (uint8_t *)&reply + skip, sizeof(reply) - skip);
	queue->heard = true;
	g_assert_cmpuint(be32toh(reply.magic), ==, NBD_SIMPLE_REPLY_MAGIC);
	g_assert_cmpuint(reply.cookie, ==, cookie);
	g_assert_cmpuint(be32toh(reply.error), ==, error);
}

static void co_expect_data(struct queue *queue, uint64_t cookie, uint8_t byte, size_t bytes)
{
	g_autofree uint8_t *data = g_malloc(bytes);

	co_expect(queue, cookie, 0);
	co_hear(queue, data, bytes);
	for (size_t i = 0; i < bytes; i++)
		g_assert_cmpuint(data[i], ==, byte);
}

/* ---- running ---- */

static void set_up(struct queue *queue)
{
	const struct data_config data = {
		.way = DATA_COPY,
		.depth = DEPTH,
		.max_io_bytes = MAX_IO,
	};
	struct fetch_config config = {
		.driver = &transport_queues_nbd,
		.depth = DEPTH,
		.max_io_bytes = MAX_IO,
		.events = &events,
		.arg = queue,
	};
	int fds[2];

	*queue = (struct queue){ 0 };
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	queue->kernel = fds[0];
	queue->ours = config.char_fd = fds[1];
	queue->loop = config.loop = aio_loop_new(64, NULL);
	g_assert_nonnull(queue->loop);
	queue->data = data_new(&data);
	config.data = queue->data;
	g_assert_cmpint(data_allocate(queue->data), ==, 0);
	queue->fetch = fetch_new(&config, NULL);
}

struct run {
	struct queue queue;
	void (*co_test)(struct queue *queue);
};

static void run_co(void *arg)
{
	struct run *run = arg;

	g_assert_cmpint(fetch_begin(run->queue.fetch), ==, 0);
	run->co_test(&run->queue);
	g_assert_cmpuint(run->queue.nr_over, ==, 1);
}

/* A test ends when its queue is over. */
static void run(const void *co_test)
{
	struct run *run = g_new(struct run, 1);
	struct queue *queue = &run->queue;

	set_up(queue);
	run->co_test = *(void (*const *)(struct queue *))co_test;
	aio_loop_run_co(queue->loop, run_co, run);
	aio_loop_free(queue->loop);
	fetch_free(queue->fetch);
	data_free(queue->data);
	if (queue->kernel >= 0)
		close(queue->kernel);
	close(queue->ours);
	g_free(run);
}

static void co_disconnect(struct queue *queue)
{
	co_ask(queue, NBD_CMD_DISC, 0, 0, 0);
	co_wait_over(queue, 0);
}

/* ---- requests ---- */

static void assert_desc(const struct queue *queue, unsigned index, enum request_op op, uint64_t off,
			uint64_t bytes)
{
	const struct request_desc *desc = &queue->seen[index].desc;

	g_assert_cmpint(desc->op, ==, op);
	g_assert_cmpuint(desc->guest_off, ==, off);
	g_assert_cmpuint(desc->bytes, ==, bytes);
	g_assert_false(desc->registered);
}

static void co_test_operations(struct queue *queue)
{
	struct nbd_request fua = request(NBD_CMD_WRITE_ZEROES, 5, 1u << 20, 0xfffffe00);

	co_ask(queue, NBD_CMD_READ, 1, 4096, 512);
	co_ask(queue, NBD_CMD_FLUSH, 2, 0, 0);
	co_ask(queue, NBD_CMD_TRIM, 3, UINT64_C(1) << 40, 0xfffff000);
	co_ask(queue, NBD_CMD_WRITE_ZEROES, 4, 512, 1024);
	co_wait_seen(queue, 4);
	assert_desc(queue, 0, REQUEST_READ, 4096, 512);
	g_assert_false(queue->seen[0].desc.fua);
	assert_desc(queue, 1, REQUEST_FLUSH, 0, 0);
	assert_desc(queue, 2, REQUEST_DISCARD, UINT64_C(1) << 40, 0xfffff000);
	assert_desc(queue, 3, REQUEST_WRITE_ZEROES, 512, 1024);
	g_assert_true(queue->seen[3].desc.may_unmap);
	/* In any order. */
	memset(buffer(queue, 0), 0x5a, 512);
	answer(queue, 3, -ENOSPC);
	answer(queue, 2, -ENODATA);
	answer(queue, 1, 0);
	answer(queue, 0, 512);
	co_expect(queue, 4, NBD_ENOSPC);
	co_expect(queue, 3, NBD_EIO);
	co_expect(queue, 2, 0);
	co_expect_data(queue, 1, 0x5a, 512);

	fua.flags = htobe16(NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE);
	co_say(queue, &fua, sizeof(fua));
	co_ask(queue, NBD_CMD_CACHE, 6, 0, 512);
	co_wait_seen(queue, 6);
	assert_desc(queue, 4, REQUEST_WRITE_ZEROES, 1u << 20, 0xfffffe00);
	g_assert_true(queue->seen[4].desc.fua);
	g_assert_false(queue->seen[4].desc.may_unmap);
	assert_desc(queue, 5, REQUEST_UNKNOWN, 0, 512);
	answer(queue, 4, 0);
	answer(queue, 5, -EOPNOTSUPP);
	co_expect(queue, 5, 0);
	co_expect(queue, 6, NBD_ENOTSUP);
	co_disconnect(queue);
}

/* A write, and a read behind it, sent in pieces of @piece bytes. */
static void co_write_in_pieces(struct queue *queue, uint32_t bytes, size_t piece)
{
	struct nbd_request write = request(NBD_CMD_WRITE, 7, 0, bytes);
	struct nbd_request read = request(NBD_CMD_READ, 8, 0, 512);
	g_autoptr(GByteArray) all = g_byte_array_new();
	unsigned first = queue->nr_seen;

	g_byte_array_append(all, (uint8_t *)&write, sizeof(write));
	for (uint32_t i = 0; i < bytes; i++)
		g_byte_array_append(all, &(uint8_t){ i * 7 }, 1);
	g_byte_array_append(all, (uint8_t *)&read, sizeof(read));
	for (size_t at = 0; at < all->len; at += piece) {
		co_say(queue, all->data + at, MIN(piece, all->len - at));
		co_reschedule();
	}
	co_wait_seen(queue, first + 2);
	assert_desc(queue, first, REQUEST_WRITE, 0, bytes);
	assert_desc(queue, first + 1, REQUEST_READ, 0, 512);
	for (uint32_t i = 0; i < bytes; i++)
		g_assert_cmpuint(buffer(queue, first)[i], ==, (uint8_t)(i * 7));
	memset(buffer(queue, first + 1), 0x33, 512);
	answer(queue, first, bytes);
	answer(queue, first + 1, 512);
	co_expect(queue, 7, 0);
	co_expect_data(queue, 8, 0x33, 512);
}

static void co_test_torn(struct queue *queue)
{
	co_write_in_pieces(queue, 512, 1);
	co_write_in_pieces(queue, 4096, 27);
	co_write_in_pieces(queue, 4096, 28);
	co_write_in_pieces(queue, 4096, 29);
	co_write_in_pieces(queue, MAX_IO, 5000);
	co_write_in_pieces(queue, MAX_IO, 70000);
	co_write_in_pieces(queue, MAX_IO, SIZE_MAX / 2);
	co_disconnect(queue);
}

static void co_test_more_requests_than_tags(struct queue *queue)
{
	struct nbd_request wire[5 * DEPTH];

	for (unsigned i = 0; i < G_N_ELEMENTS(wire); i++)
		wire[i] = request(NBD_CMD_FLUSH, 100 + i, 0, 0);
	co_say(queue, wire, sizeof(wire));
	for (unsigned i = 0; i < G_N_ELEMENTS(wire); i++) {
		co_wait_seen(queue, i + 1);
		g_assert_cmpuint(queue->nr_seen, <=, i + DEPTH);
		answer(queue, i, 0);
		co_expect(queue, 100 + i, 0);
	}
	co_disconnect(queue);
}

/* What the kernel sends with a raised max_sectors_kb. */
static void co_test_larger_than_a_tag(struct queue *queue)
{
	const uint32_t most = NBD_MAX_PAYLOAD;
	g_autofree uint8_t *data = g_malloc(most);

	co_write_in_pieces(queue, MAX_IO + 512, 70000);
	memset(data, 0x44, most);
	co_ask(queue, NBD_CMD_WRITE, 1, 4096, most);
	co_say(queue, data, most);
	co_wait_seen(queue, 3);
	assert_desc(queue, 2, REQUEST_WRITE, 4096, most);
	g_assert_cmpint(memcmp(buffer(queue, 2), data, most), ==, 0);
	answer(queue, 2, most);
	co_expect(queue, 1, 0);
	co_ask(queue, NBD_CMD_READ, 2, 0, most);
	co_wait_seen(queue, 4);
	memset(buffer(queue, 3), 0x55, most);
	answer(queue, 3, most);
	co_expect_data(queue, 2, 0x55, most);
	/* All tags have their own buffers again. */
	co_write_in_pieces(queue, MAX_IO, 70000);
	co_disconnect(queue);
}

/* So do the requests behind one that waits, until there is memory for it. */
static void co_test_large_requests_wait(struct queue *queue)
{
	const uint32_t bytes = NBD_MAX_PAYLOAD / 2 + 512;

	co_ask(queue, NBD_CMD_READ, 1, 0, bytes);
	co_ask(queue, NBD_CMD_READ, 2, 0, bytes);
	co_ask(queue, NBD_CMD_FLUSH, 3, 0, 0);
	co_wait_seen(queue, 1);
	for (unsigned i = 0; i < 10; i++)
		co_reschedule();
	g_assert_cmpuint(queue->nr_seen, ==, 1);
	memset(buffer(queue, 0), 0x66, bytes);
	answer(queue, 0, bytes);
	co_expect_data(queue, 1, 0x66, bytes);
	co_wait_seen(queue, 3);
	assert_desc(queue, 1, REQUEST_READ, 0, bytes);
	answer(queue, 2, 0);
	co_expect(queue, 3, 0);
	answer(queue, 1, -EIO);
	co_expect(queue, 2, NBD_EIO);
	co_disconnect(queue);
}

/* Their number is not right, but the stream is. */
static void co_test_too_large(struct queue *queue)
{
	const uint32_t bytes = NBD_MAX_PAYLOAD + 512;
	g_autofree uint8_t *data = g_malloc0(bytes);

	co_ask(queue, NBD_CMD_READ, 1, 0, bytes);
	co_expect(queue, 1, NBD_EINVAL);
	co_ask(queue, NBD_CMD_WRITE, 2, 0, bytes);
	co_say(queue, data, bytes);
	co_expect(queue, 2, NBD_EINVAL);
	co_ask(queue, NBD_CMD_READ, 3, 0, UINT32_MAX);
	co_expect(queue, 3, NBD_EINVAL);
	g_assert_cmpuint(queue->nr_seen, ==, 0);
	co_write_in_pieces(queue, 4096, 4096);
	co_disconnect(queue);
}

/* More than the socket holds, to a kernel that is slow. */
static void co_test_short_sends(struct queue *queue)
{
	const int least = 1;

	setsockopt(queue->ours, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	for (unsigned i = 0; i < DEPTH; i++)
		co_ask(queue, NBD_CMD_READ, i, 0, MAX_IO);
	co_wait_seen(queue, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		memset(buffer(queue, i), 0x10 + i, MAX_IO);
		answer(queue, i, MAX_IO);
	}
	for (unsigned i = 0; i < DEPTH; i++)
		co_expect_data(queue, i, 0x10 + i, MAX_IO);
	co_disconnect(queue);
}

/* ---- ends ---- */

static void co_test_answers_after_disconnect(struct queue *queue)
{
	co_ask(queue, NBD_CMD_FLUSH, 1, 0, 0);
	co_ask(queue, NBD_CMD_FLUSH, 2, 0, 0);
	co_ask(queue, NBD_CMD_DISC, 0, 0, 0);
	co_ask(queue, NBD_CMD_FLUSH, 3, 0, 0);
	co_wait_seen(queue, 2);
	answer(queue, 0, 0);
	co_expect(queue, 1, 0);
	g_assert_cmpuint(queue->nr_over, ==, 0);
	answer(queue, 1, 0);
	co_wait_over(queue, 0);
	g_assert_cmpuint(queue->nr_seen, ==, 2);
}

static void co_test_bad_magic(struct queue *queue)
{
	struct nbd_request wire = request(NBD_CMD_FLUSH, 1, 0, 0);

	wire.magic ^= 1;
	co_say(queue, &wire, sizeof(wire));
	co_wait_over(queue, -EPROTO);
	g_assert_cmpuint(queue->nr_seen, ==, 0);
}

static void close_kernel(struct queue *queue)
{
	close(queue->kernel);
	queue->kernel = -1;
}

static void co_test_end_between_requests(struct queue *queue)
{
	close_kernel(queue);
	co_wait_over(queue, -ECONNRESET);
}

static void co_test_end_in_header(struct queue *queue)
{
	struct nbd_request wire = request(NBD_CMD_FLUSH, 1, 0, 0);

	co_say(queue, &wire, sizeof(wire) - 1);
	close_kernel(queue);
	co_wait_over(queue, -ECONNRESET);
	g_assert_cmpuint(queue->nr_seen, ==, 0);
}

static void co_test_end_in_data(struct queue *queue)
{
	co_ask(queue, NBD_CMD_WRITE, 1, 0, 4096);
	co_ask(queue, NBD_CMD_WRITE, 2, 0, 512); /* data of the first, to the server */
	close_kernel(queue);
	co_wait_over(queue, -ECONNRESET);
	g_assert_cmpuint(queue->nr_seen, ==, 0);
}

/* The kernel has gone: nobody gets the answer, but the tag's request ends. */
static void co_test_answer_to_nobody(struct queue *queue)
{
	co_ask(queue, NBD_CMD_READ, 1, 0, 4096);
	co_ask(queue, NBD_CMD_FLUSH, 2, 0, 0);
	co_wait_seen(queue, 2);
	close_kernel(queue);
	answer(queue, 0, 4096);
	while (!queue->refused)
		co_reschedule();
	g_assert_cmpuint(queue->nr_over, ==, 0);
	fetch_leave(queue->fetch, queue->seen[1].tag);
	co_wait_over(queue, -ECONNRESET);
}

/* The server leaves: it ends its own side, and answers what it has. */
static void co_test_own_end(struct queue *queue)
{
	co_ask(queue, NBD_CMD_READ, 1, 0, 4096);
	co_wait_seen(queue, 1);
	shutdown(queue->ours, SHUT_RD);
	while (!queue->refused)
		co_reschedule();
	memset(buffer(queue, 0), 0x77, 4096);
	answer(queue, 0, 4096);
	co_expect_data(queue, 1, 0x77, 4096);
	co_wait_over(queue, -ECONNRESET);
}

int main(int argc, char **argv)
{
	static void (*const tests[])(struct queue *) = {
		co_test_operations,
		co_test_torn,
		co_test_more_requests_than_tags,
		co_test_larger_than_a_tag,
		co_test_large_requests_wait,
		co_test_too_large,
		co_test_short_sends,
		co_test_answers_after_disconnect,
		co_test_bad_magic,
		co_test_end_between_requests,
		co_test_end_in_header,
		co_test_end_in_data,
		co_test_answer_to_nobody,
		co_test_own_end,
	};
	static const char *const names[] = {
		"operations",
		"torn",
		"more-requests-than-tags",
		"larger-than-a-tag",
		"large-requests-wait",
		"too-large",
		"short-sends",
		"answers-after-disconnect",
		"bad-magic",
		"end-between-requests",
		"end-in-header",
		"end-in-data",
		"answer-to-nobody",
		"own-end",
	};

	g_test_init(&argc, &argv, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
		g_autofree char *path = g_strdup_printf("/server/fetch-nbd/%s", names[i]);

		g_test_add_data_func(path, &tests[i], run);
	}
	return g_test_run();
}
