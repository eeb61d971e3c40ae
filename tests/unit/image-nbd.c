// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images on NBD servers that the test plays: how many connections there are, what happens when they
 * are lost, and servers that say what they must not.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "image-test.h"
#include "nbd_protocol.h"

#define MIB  (1024u * 1024)
#define DISK (4 * MIB)
#define URI  "nbd+unix:///?socket=socket"
#define FLAGS                                                                                      \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |       \
	 NBD_FLAG_SEND_WRITE_ZEROES)

/* Ever, of one server. */
#define MAX_CLIENTS 1024

/* ---- the server ---- */

/* What it does, or does wrong. Set before it starts, or with atomics. */
struct server {
	int listener;
	GThread *thread;
	/* Of clients; GLib's pools are not known to ThreadSanitizer. */
	pthread_t clients[MAX_CLIENTS];
	uint8_t *disk;
	_Atomic uint64_t size; /* that it tells */
	uint16_t flags;
	bool has_blocks;
	uint32_t min_block, max_block;
	uint32_t extent_bytes, extent_flags; /* of an answer; 0: what was asked for */
	uint32_t read_bytes;		     /* likewise; UINT32_MAX: no data at all */
	_Atomic unsigned connections;	     /* ever */
	_Atomic unsigned flushes;
	_Atomic unsigned close_after; /* so many requests; 0: never */
	_Atomic unsigned bad_cookies; /* so many replies have one */
	_Atomic unsigned leaving;     /* says of so many requests that it is about to leave */
	_Atomic int last_fd;	      /* of the last client */
	_Atomic int dead_fd;	      /* of one that is gone, and will see when it asks */
	_Atomic bool refuse;	      /* hang up at once */
};

static bool get(int fd, void *buf, size_t bytes)
{
	return !bytes || recv(fd, buf, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static bool put(int fd, const void *buf, size_t bytes)
{
	for (ssize_t ret; bytes; bytes -= ret, buf = (const uint8_t *)buf + ret) {
		ret = send(fd, buf, bytes, MSG_NOSIGNAL);
		if (ret <= 0)
			return false;
	}
	return true;
}

static bool put_option_reply(int fd, uint32_t option, uint32_t type, const void *data, size_t bytes)
{
	struct nbd_option_reply reply = {
		htobe64(NBD_REP_MAGIC),
		htobe32(option),
		htobe32(type),
		htobe32(bytes),
	};

	return put(fd, &reply, sizeof(reply)) && put(fd, data, bytes);
}

static bool answer_go(const struct server *server, int fd)
{
	struct nbd_info_export export = {
		htobe16(NBD_INFO_EXPORT),
		htobe64(server->size),
		htobe16(server->flags),
	};
	struct nbd_info_block_size blocks = {
		htobe16(NBD_INFO_BLOCK_SIZE),
		htobe32(server->min_block),
		htobe32(4096),
		htobe32(server->max_block),
	};

	return put_option_reply(fd, NBD_OPT_GO, NBD_REP_INFO, &export, sizeof(export)) &&
	       (!server->has_blocks ||
		put_option_reply(fd, NBD_OPT_GO, NBD_REP_INFO, &blocks, sizeof(blocks))) &&
	       put_option_reply(fd, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static bool answer_context(int fd)
{
	struct {
		uint32_t id;
		char name[15];
	} __attribute__((packed)) context = { htobe32(1), "base:allocation" };

	return put_option_reply(fd, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, &context,
				sizeof(context)) &&
	       put_option_reply(fd, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
}

/* False: the client is gone, or has not asked for the export. */
static bool negotiate(const struct server *server, int fd)
{
	struct nbd_handshake hello = {
		htobe64(NBD_MAGIC),
		htobe64(NBD_OPTS_MAGIC),
		htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	struct nbd_option option;
	uint32_t flags;
	uint8_t data[8192];

	if (!put(fd, &hello, sizeof(hello)) || !get(fd, &flags, sizeof(flags)))
		return false;
	while (get(fd, &option, sizeof(option)) && be32toh(option.length) <= sizeof(data) &&
	       get(fd, data, be32toh(option.length))) {
		bool ok;

		switch (be32toh(option.option)) {
		case NBD_OPT_STRUCTURED_REPLY:
			ok = put_option_reply(fd, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
			break;
		case NBD_OPT_SET_META_CONTEXT:
			ok = answer_context(fd);
			break;
		case NBD_OPT_GO:
			return answer_go(server, fd);
		default:
			ok = put_option_reply(fd, be32toh(option.option), NBD_REP_ERR_UNSUP, NULL,
					      0);
		}
		if (!ok)
			return false;
	}
	return false;
}

static bool reply(int fd, const struct nbd_request *request, uint16_t type, const void *data,
		  size_t bytes, uint64_t cookie_mask)
{
	struct nbd_structured_reply chunk = {
		htobe32(NBD_STRUCTURED_REPLY_MAGIC),
		htobe16(NBD_REPLY_FLAG_DONE),
		htobe16(type),
		request->cookie ^ cookie_mask,
		htobe32(bytes),
	};

	return put(fd, &chunk, sizeof(chunk)) && put(fd, data, bytes);
}

static bool answer_read(struct server *server, int fd, const struct nbd_request *request,
			uint64_t cookie_mask)
{
	uint32_t length = server->read_bytes ?: be32toh(request->length);
	g_autofree uint8_t *data = NULL;

	if (length == UINT32_MAX)
		return reply(fd, request, NBD_REPLY_TYPE_NONE, NULL, 0, cookie_mask);
	data = g_malloc(8 + length);
	memcpy(data, &request->offset, 8);
	memcpy(data + 8, server->disk + be64toh(request->offset), length);
	return reply(fd, request, NBD_REPLY_TYPE_OFFSET_DATA, data, 8 + length, cookie_mask);
}

static bool answer_status(const struct server *server, int fd, const struct nbd_request *request)
{
	uint32_t status[3] = { htobe32(1),
			       htobe32(server->extent_bytes ?: be32toh(request->length)),
			       htobe32(server->extent_flags) };

	return reply(fd, request, NBD_REPLY_TYPE_BLOCK_STATUS, status, sizeof(status), 0);
}

static bool answer_leaving(int fd, const struct nbd_request *request)
{
	const struct nbd_chunk_error error = { .error = htobe32(NBD_ESHUTDOWN) };

	return reply(fd, request, NBD_REPLY_TYPE_ERROR, &error, sizeof(error), 0);
}

static bool answer(struct server *server, int fd, const struct nbd_request *request)
{
	uint64_t off = be64toh(request->offset);
	uint32_t length = be32toh(request->length);
	uint64_t cookie_mask = server->bad_cookies && server->bad_cookies-- ? 1ull << 40 : 0;

	if (fd == server->dead_fd)
		return false;
	if (server->leaving && server->leaving--)
		return answer_leaving(fd, request);
	switch (be16toh(request->type)) {
	case NBD_CMD_READ:
		return answer_read(server, fd, request, cookie_mask);
	case NBD_CMD_WRITE:
		if (!get(fd, server->disk + off, length))
			return false;
		break;
	case NBD_CMD_FLUSH:
		server->flushes++;
		break;
	case NBD_CMD_WRITE_ZEROES:
		memset(server->disk + off, 0, length);
		break;
	case NBD_CMD_BLOCK_STATUS:
		return answer_status(server, fd, request);
	case NBD_CMD_DISC:
		return false;
	}
	return reply(fd, request, NBD_REPLY_TYPE_NONE, NULL, 0, cookie_mask);
}

struct client {
	struct server *server;
	int fd;
};

static void *serve_client(void *arg)
{
	g_autofree struct client *client = arg;
	struct server *server = client->server;
	int fd = client->fd;
	struct nbd_request request;
	unsigned requests = 0;

	server->last_fd = fd;
	if (!server->refuse && negotiate(server, fd))
		while (get(fd, &request, sizeof(request)) &&
		       (!server->close_after || requests++ < server->close_after) &&
		       answer(server, fd, &request))
			;
	shutdown(fd, SHUT_RDWR);
	close(fd);
	return NULL;
}

static void *serve(void *arg)
{
	struct server *server = arg;
	int fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
		struct client *client = g_new(struct client, 1);

		*client = (struct client){ server, fd };
		g_assert_cmpuint(server->connections, <, MAX_CLIENTS);
		g_assert_cmpint(pthread_create(&server->clients[server->connections++], NULL,
					       serve_client, client),
				==, 0);
	}
	return NULL;
}

static struct server *server_new(void)
{
	struct server *server = g_new0(struct server, 1);

	server->size = DISK;
	server->disk = g_malloc0(2 * DISK);
	server->flags = FLAGS;
	return server;
}

static void server_start(struct server *server)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };

	unlink("socket");
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_assert_cmpint(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), ==,
			0);
	g_assert_cmpint(listen(server->listener, 64), ==, 0);
	server->thread = g_thread_new("server", serve, server);
}

/* Its clients must be gone. */
static void server_end(struct server *server)
{
	shutdown(server->listener, SHUT_RDWR);
	g_thread_join(server->thread);
	for (unsigned i = 0; i < server->connections; i++)
		pthread_join(server->clients[i], NULL);
	close(server->listener);
	g_free(server->disk);
	g_free(server);
}

static struct image *co_open_with_limit(unsigned flags, unsigned reconnect_s, unsigned request_s)
{
	g_autofree char *name = g_strdup_printf(
		"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"server\":{\"type\":"
		"\"unix\",\"path\":\"socket\"},\"reconnect-delay\":%u,\"request-timeout\":%u}}",
		reconnect_s, request_s);

	return co_open_ok(name, NULL, flags);
}

static struct image *co_open_with(unsigned flags, unsigned reconnect_s)
{
	return co_open_with_limit(flags, reconnect_s, 0);
}

/* ---- what a server must not say ---- */

static void co_refused(struct server *server, const char *words)
{
	g_autoptr(GError) err = NULL;
	struct image *img;

	server_start(server);
	g_assert_cmpint(image_co_open(URI, NULL, &img, &err), <, 0);
	if (!strstr(err->message, words) || !strstr(err->message, "socket"))
		g_error("'%s' does not say '%s'", err->message, words);
	server_end(server);
}

CO_TEST(test_impossible_sizes_are_refused)
{
	static const struct {
		uint64_t size;
		uint32_t min;
		const char *words;
	} wrong[] = {
		{ INT64_MAX, 1, "more than" },
		{ UINT64_MAX, 1, "" },
		{ DISK + 512, 4096, "not multiple" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
		struct server *server = server_new();

		server->has_blocks = true;
		server->size = wrong[i].size;
		server->min_block = wrong[i].min;
		server->max_block = MIB;
		co_refused(server, wrong[i].words);
	}
}

/* Or refused; libnbd ignores them. */
CO_TEST(test_impossible_block_sizes_are_ignored)
{
	static const uint32_t wrong[][2] = {
		{ 0, MIB },
		{ 3, MIB },
		{ 128 << 10, MIB },
		{ 4096, 512 },
		{ UINT32_MAX, UINT32_MAX },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
		struct server *server = server_new();
		struct image *img;
		uint8_t data[512];

		server->has_blocks = true;
		server->min_block = wrong[i][0];
		server->max_block = wrong[i][1];
		server_start(server);
		if (image_co_open(URI, NULL, &img, NULL) == 0) {
			g_assert_cmpuint(image_limits(img)->request_alignment, <=, 65536);
			g_assert_cmpint(image_co_pread(img, 0, sizeof(data), data), ==, 0);
			image_co_close(img);
		}
		server_end(server);
	}
}

CO_TEST(test_a_server_that_hangs_up_is_refused)
{
	struct server *server = server_new();

	server->refuse = true;
	co_refused(server, "");
}

/* Whatever the server says of a range, it is not longer than that, and not empty. */
CO_TEST(test_incomplete_reads_fail)
{
	static const uint32_t lengths[] = { 1, 4095, UINT32_MAX };

	for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
		struct server *server = server_new();
		uint8_t buf[4096];
		struct image *img;

		server->read_bytes = lengths[i];
		server_start(server);
		img = co_open_with(0, 0);
		g_assert_cmpint(image_co_pread(img, 0, sizeof(buf), buf), ==, -EPROTO);
		image_co_close(img);
		server_end(server);
	}
}

CO_TEST(test_bad_extents_are_bounded)
{
	static const uint32_t lengths[] = { 1, 511, 4095, 4096, 4097, UINT32_MAX };

	for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
		struct server *server = server_new();
		struct image_extent extent;
		struct image *img;
		int ret;

		server->has_blocks = true;
		server->min_block = 4096;
		server->max_block = MIB;
		server->extent_bytes = lengths[i];
		server->extent_flags = UINT32_MAX;
		server_start(server);
		img = co_open_with(0, 0);
		ret = image_co_block_status(img, 5000, 10000, &extent);
		if (ret == 0)
			g_assert_true(extent.bytes > 0 && extent.bytes <= 10000);
		image_co_close(img);
		server_end(server);
	}
}

/* Later versions of libnbd ignore such an answer, so that the request has none. */
CO_TEST(test_nonsense_costs_an_error)
{
	struct server *server = server_new();
	struct image *img;
	char byte;
	int ret;

	server_start(server);
	img = co_open_with_limit(0, 0, 5);
	server->bad_cookies = 2;
	ret = image_co_pread(img, 0, 1, &byte);
	g_assert_true(ret == -EIO || ret == -ETIMEDOUT);
	server->bad_cookies = 0;
	g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, 0);
	image_co_close(img);
	server_end(server);
}

/* ---- size ---- */

CO_TEST(test_a_new_size_is_seen_when_asked_for)
{
	struct server *server = server_new();
	struct image *img;
	char byte = 'x';

	server_start(server);
	img = co_open_with(IMAGE_RDWR, 0);
	server->size = DISK + MIB;
	g_assert_cmpint(image_co_pwrite(img, DISK, 1, &byte, 0), ==, -EIO);
	g_assert_cmpint(image_co_refresh_size(img), ==, 0);
	g_assert_cmpuint(image_size(img), ==, DISK + MIB);
	g_assert_cmpint(image_co_pwrite(img, DISK, 1, &byte, 0), ==, 0);
	g_assert_cmpuint(server->disk[DISK], ==, 'x');
	server->size = DISK;
	g_assert_cmpint(image_co_refresh_size(img), ==, -EIO);
	g_assert_cmpuint(image_size(img), ==, DISK + MIB);
	g_assert_cmpint(image_troubles(img) & IMAGE_TROUBLE_CUT, !=, 0);
	image_co_close(img);
	server_end(server);
}

CO_TEST(test_flushes_only_go_where_there_is_something)
{
	struct server *server = server_new();
	struct image *img;
	char byte = 'x';

	server_start(server);
	img = co_open_with(IMAGE_RDWR, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(server->flushes, ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(server->flushes, ==, 1);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, IMAGE_REQ_FUA), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(server->flushes, ==, 1);
	image_co_close(img);
	server_end(server);
}

/* ---- servers that leave ---- */

/* What a server had not flushed may be gone with it; flushes say so, unless it was to come back. */
static void co_write_and_leave(void (*co_leave)(struct server *server, struct image *img),
			       unsigned reconnect_s, int expected)
{
	struct server *server = server_new();
	struct image *img;
	char byte = 'x';

	server_start(server);
	img = co_open_with(IMAGE_RDWR, reconnect_s);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 0), ==, 0);
	co_leave(server, img);
	g_assert_cmpuint(server->connections, ==, 2);
	g_assert_cmpint(image_co_flush(img), ==, expected);
	image_co_close(img);
	server_end(server);
}

static void co_read_from_leaving(struct server *server, struct image *img)
{
	char byte;

	server->leaving = 1;
	g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, 0);
}

CO_TEST(test_a_server_says_that_it_leaves)
{
	co_write_and_leave(co_read_from_leaving, 0, -EIO);
	co_write_and_leave(co_read_from_leaving, 600, 0);
}

static void co_refresh(struct server *server, struct image *img)
{
	g_assert_cmpint(image_co_refresh_size(img), ==, 0);
}

static void co_refresh_after_end(struct server *server, struct image *img)
{
	shutdown(server->last_fd, SHUT_RDWR);
	co_refresh(server, img);
}

CO_TEST(test_a_server_leaves_before_its_size_is_read)
{
	co_write_and_leave(co_refresh, 0, 0);
	co_write_and_leave(co_refresh_after_end, 0, -EIO);
	co_write_and_leave(co_refresh_after_end, 600, 0);
}

/* Linked with --wrap: there is no descriptor left for a duplicate of the socket. */
static _Atomic bool no_duplicates;

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, long argument);

int __wrap_fcntl64(int fd, int command, long argument)
{
	if (command != F_DUPFD_CLOEXEC || !no_duplicates)
		return __real_fcntl64(fd, command, argument);
	errno = EMFILE;
	return -1;
}

/* Otherwise the request would wait for ever. */
CO_TEST(test_a_connection_without_a_descriptor_has_failed)
{
	struct server *server = server_new();
	struct image *img;
	char byte;

	server_start(server);
	img = co_open_with(0, 0);
	shutdown(server->last_fd, SHUT_RDWR);
	no_duplicates = true;
	g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, -EIO);
	no_duplicates = false;
	image_co_close(img);
	server_end(server);
}

/* On the connection of another loop. */
static void write_byte(void *arg)
{
	char byte = 'x';

	g_assert_cmpint(image_co_pwrite(arg, 0, 1, &byte, 0), ==, 0);
}

static void *write_thread(void *arg)
{
	run_co(write_byte, arg);
	return NULL;
}

/* How the server leaves: properly, or like a host that has lost its power. */
enum leaving {
	STAYS,
	HANGS_UP,
	VANISHES,
};

static void co_flush_elsewhere(unsigned reconnect_s, enum leaving leaving, int expected)
{
	struct server *server = server_new();
	struct image *img;

	server->flags |= NBD_FLAG_CAN_MULTI_CONN;
	server_start(server);
	img = co_open_with(IMAGE_RDWR, reconnect_s);
	write_byte(img);
	g_thread_join(g_thread_new("write", write_thread, img));
	if (leaving == HANGS_UP)
		shutdown(server->last_fd, SHUT_RDWR);
	if (leaving == VANISHES)
		server->dead_fd = server->last_fd;
	g_assert_cmpint(image_co_flush(img), ==, expected);
	image_co_close(img);
	server_end(server);
}

CO_TEST(test_a_server_leaves_before_a_flush_on_another_connection)
{
	co_flush_elsewhere(0, STAYS, 0);
	co_flush_elsewhere(0, HANGS_UP, -EIO);
	co_flush_elsewhere(600, HANGS_UP, 0);
	co_flush_elsewhere(0, VANISHES, -EIO);
}

/* ---- many loops ---- */

#define LOOPS	3
#define WORKERS 6 /* of a loop */
#define RUN	(64u * 1024)
#define ROUNDS	40

struct worker {
	struct image *img;
	unsigned number;
};

/* Each has its part of the disk, and other data in each round. */
static void work(void *arg)
{
	const struct worker *w = arg;
	g_autofree uint8_t *data = g_malloc(RUN), *back = g_malloc(RUN);

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t bytes = 1 + (round * 7919 + w->number) % RUN, off = w->number * RUN;
		struct iovec iov[] = { { data, bytes / 2 },
				       { data + bytes / 2, bytes - bytes / 2 } };

		memset(data, round + w->number, bytes);
		g_assert_cmpint(image_co_pwritev(w->img, off, bytes, (struct iobuf){ .iov = iov },
						 round % 5 ? 0 : IMAGE_REQ_FUA),
				==, 0);
		g_assert_cmpint(image_co_pread(w->img, off, bytes, back), ==, 0);
		g_assert_cmpmem(data, bytes, back, bytes);
		if (round % 7 == 0)
			g_assert_cmpint(image_co_flush(w->img), ==, 0);
	}
}

static void run_workers(void *arg)
{
	struct worker *workers = arg;
	struct co_group group = {};

	for (unsigned i = 0; i < WORKERS; i++)
		co_group_start(&group, work, &workers[i]);
	co_group_wait(&group);
}

static void *loop_thread(void *arg)
{
	run_co(run_workers, arg);
	return NULL;
}

static unsigned co_work_on_loops(struct server *server)
{
	struct worker workers[LOOPS][WORKERS];
	GThread *threads[LOOPS];
	struct image *img;
	unsigned connections;

	server_start(server);
	img = co_open_with(IMAGE_RDWR, 600);
	for (unsigned i = 0; i < LOOPS; i++) {
		for (unsigned j = 0; j < WORKERS; j++)
			workers[i][j] = (struct worker){ img, i * WORKERS + j };
		threads[i] = g_thread_new("loop", loop_thread, workers[i]);
	}
	for (unsigned i = 0; i < LOOPS; i++)
		g_thread_join(threads[i]);
	g_assert_cmpint(image_co_close(img), ==, 0);
	connections = server->connections;
	server_end(server);
	return connections;
}

CO_TEST(test_loops_share_a_connection)
{
	g_assert_cmpuint(co_work_on_loops(server_new()), ==, 1);
}

CO_TEST(test_each_loop_has_a_connection_with_multi_conn)
{
	struct server *server = server_new();
	unsigned connections;

	server->flags |= NBD_FLAG_CAN_MULTI_CONN;
	connections = co_work_on_loops(server);
	/* The one that opened it, which has no requests; a loop that ended may have lent its
	 * number. */
	g_assert_cmpuint(connections, >=, 2);
	g_assert_cmpuint(connections, <=, 1 + LOOPS);
}

static void co_lose_connections(uint16_t flags)
{
	struct server *server = server_new();

	server->flags |= flags;
	server->close_after = 37;
	g_assert_cmpuint(co_work_on_loops(server), >, 4);
}

CO_TEST(test_lost_connections_lose_nothing)
{
	co_lose_connections(0);
}

CO_TEST(test_lost_connections_lose_nothing_with_multi_conn)
{
	co_lose_connections(NBD_FLAG_CAN_MULTI_CONN);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/nbd/impossible-sizes", test_impossible_sizes_are_refused);
	g_test_add_func("/nbd/impossible-block-sizes", test_impossible_block_sizes_are_ignored);
	g_test_add_func("/nbd/hangs-up", test_a_server_that_hangs_up_is_refused);
	g_test_add_func("/nbd/incomplete-reads", test_incomplete_reads_fail);
	g_test_add_func("/nbd/bad-extents", test_bad_extents_are_bounded);
	g_test_add_func("/nbd/nonsense", test_nonsense_costs_an_error);
	g_test_add_func("/nbd/new-size", test_a_new_size_is_seen_when_asked_for);
	g_test_add_func("/nbd/flushes", test_flushes_only_go_where_there_is_something);
	g_test_add_func("/nbd/leaving", test_a_server_says_that_it_leaves);
	g_test_add_func("/nbd/left", test_a_server_leaves_before_its_size_is_read);
	g_test_add_func("/nbd/no-descriptor", test_a_connection_without_a_descriptor_has_failed);
	g_test_add_func("/nbd/left-elsewhere",
			test_a_server_leaves_before_a_flush_on_another_connection);
	g_test_add_func("/nbd/one-connection", test_loops_share_a_connection);
	g_test_add_func("/nbd/multi-conn", test_each_loop_has_a_connection_with_multi_conn);
	g_test_add_func("/nbd/lost", test_lost_connections_lose_nothing);
	g_test_add_func("/nbd/lost-multi-conn", test_lost_connections_lose_nothing_with_multi_conn);
	return leave_scratch(folder, g_test_run());
}
