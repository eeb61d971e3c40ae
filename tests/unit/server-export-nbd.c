// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests of NBD clients that fail for lack of space or wait for their turn, clients that keep
 * memory from others, and how many reads begin. It is linked with --wrap: the image finds no space
 * for as long as the test says so, and reads are as slow.
 */
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client_loops.h"
#include "container_of.h"
#include "disk.h"
#include "export_nbd_parts.h"
#include "image-test.h"
#include "memory_budget.h"
#include "nbd_protocol.h"
#include "object.h"
#include "tcp_pair.h"
#include "throttle_group.h"
#include "throttle_limits.h"

int __real_image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
			   unsigned flags);
int __wrap_image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
			   unsigned flags);

static _Atomic bool is_full;
static _Atomic unsigned refused;

int __wrap_image_co_pwrite(struct image *img, uint64_t off, uint64_t bytes, const void *buf,
			   unsigned flags)
{
	if (!is_full)
		return __real_image_co_pwrite(img, off, bytes, buf, flags);
	refused++;
	return -ENOSPC;
}

int __real_image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf);
int __wrap_image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf);

static _Atomic enum { READS_ARE_REAL, READS_ARE_READY, READS_ARE_SLOW } reads;
static _Atomic unsigned reads_begun;

int __wrap_image_co_pread(struct image *img, uint64_t off, uint64_t bytes, void *buf)
{
	if (reads == READS_ARE_REAL)
		return __real_image_co_pread(img, off, bytes, buf);
	reads_begun++;
	while (reads == READS_ARE_SLOW)
		co_sleep_ns(1000000);
	memset(buf, 0x5a, bytes);
	return 0;
}

int __real_co_reserve_more(unsigned count);
int __wrap_co_reserve_more(unsigned count);

static _Atomic bool has_no_stacks;

int __wrap_co_reserve_more(unsigned count)
{
	return has_no_stacks ? -ENOMEM : __real_co_reserve_more(count);
}

int __wrap_image_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes);

/* Trimming asks for a piece, waits until it may go on, and does nothing. */
static _Atomic unsigned trims_begun, trims_allowed;

int __wrap_image_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	unsigned nr = trims_begun++;

	while (nr >= trims_allowed)
		co_sleep_ns(1000000);
	return 0;
}

static _Atomic bool no_memory;

void *__real_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off);

void *__wrap_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off)
{
	errno = ENOMEM;
	return no_memory ? MAP_FAILED : __real_mmap64(addr, bytes, prot, flags, fd, off);
}

/* ---- an export of a disk, and a client ---- */

#define DISK   (32u << 20)
#define MEMORY (32u << 20)
#define DEPTH  40
#define LOOPS  2

static uint64_t disk_bytes = DISK;
static struct memory_budget memory;
static struct hold_policy hold = { .on_enospc = true };

struct world {
	struct image *image;
	struct nbd_exports exports;
	struct nbd_export export;
	struct nbd_client_settings settings;
	struct request_limits limits;
	struct nbd_client *client;
	int fd; /* the client's end */
};

static bool node_has_limits; /* at the top, in place of the export */

static struct image *co_open_throttled(void)
{
	const char *name = "json:{'driver':'throttle','throttle-group':'top','file':"
			   "{'driver':'raw','file':{'driver':'file','filename':'disk.raw'}}}";

	if (!throttle_group_exists("top"))
		g_assert_cmpint(object_create("throttle-group,id=top", NULL), ==, 0);
	return co_open_ok(name, NULL, IMAGE_RDWR);
}

static struct throttle_group *limits_of(const struct world *world)
{
	return node_has_limits ? throttle_group_find("top") : world->export.throttle;
}

static void co_begin_with(struct world *world, const int fds[2])
{
	write_file("disk.raw", "", 0);
	g_assert_cmpint(truncate("disk.raw", disk_bytes), ==, 0);
	memory_budget_init(&memory, MEMORY);
	is_full = true;
	refused = 0;
	reads = READS_ARE_REAL;
	reads_begun = 0;
	trims_begun = trims_allowed = 0;
	world->image =
		node_has_limits ? co_open_throttled() : co_open_ok("disk.raw", "raw", IMAGE_RDWR);
	world->settings = (struct nbd_client_settings){
		.exports = &world->exports,
		.loops = client_loops_new(LOOPS, NULL),
		.depth = DEPTH,
		.memory = &memory,
		.stall_ns = 50000000,
		.handshake_ns = AIO_NEVER,
		.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	world->limits = (struct request_limits){ G_MAXINT64, G_MAXINT64 };
	world->export = (struct nbd_export){
		.name = "",
		.disk = disk_new(world->image),
		.discard = true,
		.page_cache = true,
		.hold = &hold,
		.limits = &world->limits,
		.throttle = throttle_group_new(),
		.event_fd = world->settings.event_fd,
	};
	nbd_exports_init(&world->exports);
	g_assert_true(nbd_exports_offer(&world->exports, &world->export));
	world->client = nbd_client_new(&world->settings, fds[0], NULL);
	g_assert_nonnull(world->client);
	world->fd = fds[1];
}

static void co_begin(struct world *world)
{
	int fds[2];

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	co_begin_with(world, fds);
}

static void co_end(struct world *world)
{
	nbd_client_free(world->client);
	client_loops_free(world->settings.loops);
	nbd_exports_destroy(&world->exports);
	throttle_group_free(world->export.throttle);
	disk_free(world->export.disk);
	close(world->settings.event_fd);
	g_assert_cmpint(image_co_close(world->image), ==, 0);
	memory_budget_destroy(&memory);
}

static void co_say(int fd, const void *data, size_t bytes)
{
	g_assert_cmpint(co_send(fd, data, bytes, NULL), ==, bytes);
}

static void co_hear(int fd, void *data, size_t bytes)
{
	for (size_t got = 0; got < bytes;) {
		ssize_t res = co_recv(fd, (char *)data + got, bytes - got, NULL);

		g_assert_cmpint(res, >, 0);
		got += res;
	}
}

static void co_shake_hands(int fd)
{
	static const char words[] = "\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\0";
	char answer[sizeof(struct nbd_handshake) + 10];

	co_say(fd, words, sizeof(words) - 1);
	co_hear(fd, answer, sizeof(answer));
}

/* A write that finds no space, and has been tried. */
static void co_write_held(int fd)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_WRITE),
		.cookie = 5,
		.length = htobe32(4),
	};

	co_say(fd, &header, sizeof(header));
	co_say(fd, "held", 4);
	while (!refused)
		co_sleep_ns(1000000);
}

static void co_check_answer(int fd, uint32_t error)
{
	struct nbd_simple_reply reply;

	co_hear(fd, &reply, sizeof(reply));
	g_assert_cmphex(be32toh(reply.magic), ==, NBD_SIMPLE_REPLY_MAGIC);
	g_assert_cmpint(reply.cookie, ==, 5);
	g_assert_cmpint(be32toh(reply.error), ==, error);
}

static uint64_t failed_requests(const struct world *world)
{
	struct serve_stats stats = { 0 };

	serve_add_stats(nbd_client_serve(world->client), &stats);
	return serve_stats_failed(&stats);
}

/* ---- tests ---- */

CO_TEST(test_space_comes)
{
	struct world world;
	char data[4];

	co_begin(&world);
	co_shake_hands(world.fd);
	co_write_held(world.fd);
	g_assert_cmpint(failed_requests(&world), ==, 0);
	is_full = false;
	co_check_answer(world.fd, NBD_SUCCESS);
	close(world.fd);
	g_assert_cmpint(image_co_pread(world.image, 0, 4, data), ==, 0);
	g_assert_cmpmem(data, 4, "held", 4);
	co_end(&world);
}

/* Otherwise the connection would last until there is space. */
CO_TEST(test_client_hangs_up)
{
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	co_write_held(world.fd);
	close(world.fd);
	while (!nbd_client_ended(world.client))
		co_sleep_ns(1000000);
	co_end(&world);
}

CO_TEST(test_hangs_up_when_it_holds_all)
{
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	for (unsigned i = 0; i < 6; i++)
		co_write_held(world.fd);
	close(world.fd);
	while (!nbd_client_ended(world.client))
		co_sleep_ns(1000000);
	co_end(&world);
}

CO_TEST(test_server_ends)
{
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	co_write_held(world.fd);
	nbd_client_stop(world.client);
	co_check_answer(world.fd, NBD_ENOSPC);
	g_assert_cmpint(failed_requests(&world), ==, 1);
	close(world.fd);
	co_end(&world);
}

/* ---- requests that take long ---- */

#define LARGE_DISK	  (1u << 30)
#define LARGE_TRIM_PIECES 4

/* A trim of all of the disk, in pieces, the first of which has begun. */
static void co_trim_all(struct world *world)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_TRIM),
		.cookie = 5,
		.length = htobe32(LARGE_DISK),
	};

	disk_bytes = LARGE_DISK;
	co_begin(world);
	disk_bytes = DISK;
	co_shake_hands(world->fd);
	co_say(world->fd, &header, sizeof(header));
	while (!trims_begun)
		co_sleep_ns(1000000);
}

/* What is under way is finished, and the answer can be taken. */
CO_TEST(test_long_request_ends)
{
	struct world world;

	co_trim_all(&world);
	nbd_client_stop(world.client);
	for (unsigned i = 0; i < 3; i++)
		nbd_client_drop_late(world.client);
	trims_allowed = LARGE_TRIM_PIECES;
	while (!world.client->done)
		co_sleep_ns(1000000);
	nbd_client_drop_late(world.client);
	co_check_answer(world.fd, NBD_SUCCESS);
	g_assert_cmpuint(trims_begun, ==, LARGE_TRIM_PIECES);
	close(world.fd);
	co_end(&world);
}

/* But it does not keep the server from ending. */
CO_TEST(test_long_request_is_cut)
{
	struct world world;

	co_trim_all(&world);
	world.settings.last_requests_ns = 1;
	nbd_client_stop(world.client);
	trims_allowed = LARGE_TRIM_PIECES;
	co_check_answer(world.fd, NBD_ESHUTDOWN);
	g_assert_cmpuint(trims_begun, ==, 1);
	g_assert_cmpint(failed_requests(&world), ==, 0);
	close(world.fd);
	co_end(&world);
}

CO_TEST(test_late_client_is_dropped)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_READ),
		.cookie = 5,
		.length = htobe32(DISK),
	};
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	co_say(world.fd, &header, sizeof(header));
	co_check_answer(world.fd, NBD_SUCCESS);
	nbd_client_stop(world.client);
	nbd_client_drop_late(world.client);
	while (!nbd_client_ended(world.client))
		co_sleep_ns(1000000);
	close(world.fd);
	co_end(&world);
}

/* A client that does not take its answer is only dropped if others need the memory. */
CO_TEST(test_memory_that_others_wait_for)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_READ),
		.cookie = 5,
		.length = htobe32(DISK),
	};
	struct budget_waiter waiter;
	struct world world;
	char rest[4096];

	co_begin(&world);
	co_shake_hands(world.fd);
	co_say(world.fd, &header, sizeof(header));
	co_check_answer(world.fd, NBD_SUCCESS);
	co_sleep_ns(200000000);
	g_assert_false(nbd_client_ended(world.client));
	g_assert_true(memory_budget_co_take(&memory, MEMORY, &waiter));
	memory_budget_give_back(&memory, MEMORY);
	while (co_recv(world.fd, rest, sizeof(rest), NULL) > 0)
		;
	close(world.fd);
	co_end(&world);
}

/* Otherwise it would take one of the places of clients for hours. */
CO_TEST(test_a_host_that_vanishes_is_noticed)
{
	struct world world;
	socklen_t len = sizeof(int);
	int fds[2], same, idle_s;

	tcp_pair(fds);
	same = dup(fds[0]);
	co_begin_with(&world, fds);
	g_assert_cmpint(getsockopt(same, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, &len), ==, 0);
	g_assert_cmpint(idle_s, <=, 60);
	close(same);
	close(world.fd);
	co_end(&world);
}

/* ---- the pace of reads ---- */

#define PIECE (256u << 10)

static void co_ask_for_pieces(int fd, unsigned nr)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(NBD_CMD_READ),
		.cookie = 5,
		.length = htobe32(PIECE),
	};
	struct nbd_request headers[DEPTH];

	for (unsigned i = 0; i < nr; i++)
		headers[i] = header;
	co_say(fd, headers, nr * sizeof(header));
}

static void co_take_piece(int fd)
{
	g_autofree uint8_t *data = g_malloc(PIECE);

	co_check_answer(fd, NBD_SUCCESS);
	co_hear(fd, data, PIECE);
	for (unsigned i = 0; i < PIECE; i++)
		g_assert_cmpuint(data[i], ==, 0x5a);
}

/* What is ready waits for the client, but for what the socket holds. */
CO_TEST(test_ready_reads_keep_pace)
{
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	reads = READS_ARE_READY;
	co_ask_for_pieces(world.fd, DEPTH);
	for (unsigned i = 0; i < DEPTH; i++) {
		co_take_piece(world.fd);
		g_assert_cmpuint(reads_begun, <=, i + DEPTH / 2);
	}
	close(world.fd);
	co_end(&world);
}

CO_TEST(test_slow_reads_begin_together)
{
	struct world world;

	co_begin(&world);
	co_shake_hands(world.fd);
	reads = READS_ARE_SLOW;
	co_ask_for_pieces(world.fd, DEPTH);
	while (reads_begun < DEPTH)
		co_sleep_ns(1000000);
	reads = READS_ARE_READY;
	for (unsigned i = 0; i < DEPTH; i++)
		co_take_piece(world.fd);
	close(world.fd);
	co_end(&world);
}

/* Slow reads of a client, some of which wait for memory, since others have all that is shared. */
static void co_begin_without_memory(struct world *world)
{
	struct budget_waiter waiter;

	co_begin(world);
	g_assert_true(memory_budget_co_take(&memory, MEMORY, &waiter));
	co_shake_hands(world->fd);
	reads = READS_ARE_SLOW;
	co_ask_for_pieces(world->fd, DEPTH);
	while (!memory_budget_is_wanted(&memory))
		co_sleep_ns(1000000);
}

/* A client that wants more goes on with its own memory for as long as others have the rest. */
CO_TEST(test_own_memory_is_enough)
{
	struct world world;

	co_begin_without_memory(&world);
	reads = READS_ARE_READY;
	for (unsigned i = 0; i < DEPTH; i++)
		co_take_piece(world.fd);
	memory_budget_give_back(&memory, MEMORY);
	close(world.fd);
	co_end(&world);
}

/* Reads that have not begun when a client leaves never do. */
CO_TEST(test_nothing_is_read_for_a_client_that_left)
{
	struct world world;
	unsigned begun;

	co_begin_without_memory(&world);
	begun = reads_begun;
	close(world.fd);
	reads = READS_ARE_READY;
	while (!nbd_client_ended(world.client))
		co_sleep_ns(1000000);
	g_assert_cmpuint(reads_begun, ==, begun);
	memory_budget_give_back(&memory, MEMORY);
	co_end(&world);
}

/* It would not end for as long as others hold the memory, such as clients of other exports. */
CO_TEST(test_memory_of_others_is_not_waited_for)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.cookie = 5,
		.length = htobe32(DISK),
	};

	for (int writes = 0; writes < 2; writes++) {
		struct nbd_request request = header;
		struct budget_waiter waiter;
		struct world world;

		co_begin(&world);
		request.type = htobe16(writes ? NBD_CMD_WRITE : NBD_CMD_READ);
		g_assert_true(memory_budget_co_take(&memory, MEMORY, &waiter));
		co_shake_hands(world.fd);
		co_say(world.fd, &request, sizeof(request));
		while (!memory_budget_is_wanted(&memory))
			co_sleep_ns(1000000);
		/* As when its export is removed. */
		nbd_client_stop(world.client);
		nbd_client_drop(world.client);
		while (!nbd_client_ended(world.client))
			co_sleep_ns(1000000);
		g_assert_false(memory_budget_is_wanted(&memory));
		memory_budget_give_back(&memory, MEMORY);
		close(world.fd);
		co_end(&world);
	}
}

/* ---- clients of one loop ---- */

/* More than there are loops. */
#define CLIENTS 7

static struct nbd_client *co_begin_another(const struct world *world, int *ret_fd)
{
	struct nbd_client *client;
	int fds[2];

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	client = nbd_client_new(&world->settings, fds[0], NULL);
	g_assert_nonnull(client);
	co_shake_hands(fds[1]);
	*ret_fd = fds[1];
	return client;
}

/* One that waits delays none of the others, which come and go. */
CO_TEST(test_clients_share_loops)
{
	struct nbd_client *clients[CLIENTS];
	struct world world;
	int fds[CLIENTS];

	co_begin(&world);
	co_shake_hands(world.fd);
	co_write_held(world.fd);
	reads = READS_ARE_READY;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < CLIENTS; i++)
			clients[i] = co_begin_another(&world, &fds[i]);
		for (unsigned i = 0; i < CLIENTS; i++) {
			co_ask_for_pieces(fds[i], 3);
			for (unsigned piece = 0; piece < 3; piece++)
				co_take_piece(fds[i]);
		}
		for (unsigned i = 0; i < CLIENTS; i++) {
			close(fds[i]);
			nbd_client_free(clients[i]);
		}
	}
	is_full = false;
	co_check_answer(world.fd, NBD_SUCCESS);
	close(world.fd);
	co_end(&world);
}

/* ---- limits ---- */

static void set_limits(const struct world *world, const char *list)
{
	g_autoptr(GError) err = NULL;
	struct throttle_config config;

	throttle_config_init(&config);
	throttle_config_parse(&config, list, &err);
	g_assert_no_error(err);
	throttle_group_set(limits_of(world), &config, &err);
	g_assert_no_error(err);
}

static void co_ask(int fd, unsigned type, uint32_t length)
{
	const struct nbd_request header = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(type),
		.cookie = 5,
		.length = htobe32(length),
	};

	co_say(fd, &header, sizeof(header));
}

static void co_wait_in_flight(const struct world *world, uint64_t wanted)
{
	struct serve_stats stats;

	do {
		co_sleep_ns(1000000);
		stats = (struct serve_stats){ 0 };
		serve_add_stats(nbd_client_serve(world->client), &stats);
	} while (stats.in_flight != wanted);
}

/* A disk whose next request waits for hours, with a client that has made the one before. */
static void co_begin_throttled(struct world *world)
{
	co_begin(world);
	is_full = false;
	set_limits(world, "bps-total=1");
	g_assert_cmpuint(throttle_group_take(limits_of(world), aio_now_ns(), true, 1 << 20), <=,
			 aio_now_ns());
	co_shake_hands(world->fd);
}

/* A write that waits. */
static void co_write_throttled(const struct world *world)
{
	co_ask(world->fd, NBD_CMD_WRITE, 4);
	co_say(world->fd, "turn", 4);
	co_wait_in_flight(world, 1);
}

static void co_check_disk(const struct world *world, const char *wanted)
{
	char data[4];

	g_assert_cmpint(image_co_pread(world->image, 0, 4, data), ==, 0);
	g_assert_cmpmem(data, 4, wanted, 4);
}

/* Long enough for whoever looks several times a second. */
static void co_look_around(void)
{
	co_sleep_ns(400000000);
}

/* Otherwise whoever writes and hangs up would write as much as it likes. */
CO_TEST(test_no_turn_for_hanging_up)
{
	struct world world;

	co_begin_throttled(&world);
	co_write_throttled(&world);
	shutdown(world.fd, SHUT_WR);
	co_look_around();
	co_check_disk(&world, "\0\0\0\0");
	g_assert_false(nbd_client_ended(world.client));
	set_limits(&world, "none");
	co_check_answer(world.fd, NBD_SUCCESS);
	co_check_disk(&world, "turn");
	close(world.fd);
	co_end(&world);
}

static void co_check_dropped(struct world *world)
{
	while (!nbd_client_ended(world->client))
		co_sleep_ns(1000000);
	co_check_disk(world, "\0\0\0\0");
	g_assert_cmpuint(throttle_group_in_line(limits_of(world)), ==, 0);
	g_assert_cmpuint(failed_requests(world), ==, 0);
	co_end(world);
}

/* Its requests never start, and nobody else pays for them. */
CO_TEST(test_no_turn_for_a_client_that_left)
{
	struct world world;

	co_begin_throttled(&world);
	co_ask(world.fd, NBD_CMD_READ, DISK);
	co_wait_in_flight(&world, 1);
	co_ask(world.fd, NBD_CMD_WRITE, 4);
	co_say(world.fd, "turn", 4);
	co_wait_in_flight(&world, 2);
	close(world.fd);
	co_check_dropped(&world);
}

CO_TEST(test_leaves_half_by_half)
{
	struct world world;

	co_begin_throttled(&world);
	co_write_throttled(&world);
	shutdown(world.fd, SHUT_WR);
	co_look_around();
	close(world.fd);
	co_check_dropped(&world);
}

/* The main thread learns that a request waits for long. */
CO_TEST(test_late_is_told)
{
	eventfd_t told = 0;
	struct world world;
	struct serve *serve;

	co_begin_throttled(&world);
	co_write_throttled(&world);
	serve = nbd_client_serve(world.client);
	while (!serve_late(serve))
		co_sleep_ns(1000000);
	while (co_read_event(world.export.event_fd, &told, sizeof(told), NULL) < 0)
		;
	g_assert_cmpuint(told, >, 0);
	set_limits(&world, "none");
	co_check_answer(world.fd, NBD_SUCCESS);
	g_assert_cmpuint(serve_late(serve), ==, 0);
	close(world.fd);
	co_end(&world);
}

/* It must answer all before it ends. */
CO_TEST(test_server_ends_limits)
{
	struct world world;

	co_begin_throttled(&world);
	co_write_throttled(&world);
	nbd_client_stop(world.client);
	co_check_answer(world.fd, NBD_SUCCESS);
	co_check_disk(&world, "turn");
	close(world.fd);
	co_end(&world);
}

/* Nor must they keep memory from other disks meanwhile. */
CO_TEST(test_waiting_needs_no_memory)
{
	struct budget_waiter waiter;
	struct world world;

	co_begin_throttled(&world);
	for (unsigned i = 0; i < 3; i++)
		co_ask(world.fd, NBD_CMD_READ, DISK);
	co_wait_in_flight(&world, 3);
	co_ask(world.fd, NBD_CMD_WRITE, DISK);
	co_wait_in_flight(&world, 4);
	g_assert_true(memory_budget_co_take(&memory, MEMORY, &waiter));
	memory_budget_give_back(&memory, MEMORY);
	close(world.fd);
	co_check_dropped(&world);
}

/* However many requests a client has, others that share its limits wait for one read and write. */
CO_TEST(test_clients_take_turns)
{
	struct world world;

	co_begin_throttled(&world);
	for (unsigned i = 0; i < DEPTH - 1; i++)
		co_ask(world.fd, NBD_CMD_READ, 1 << 20);
	co_wait_in_flight(&world, DEPTH - 1);
	co_ask(world.fd, NBD_CMD_WRITE, 1 << 20);
	co_wait_in_flight(&world, DEPTH);
	while (throttle_group_in_line(limits_of(&world)) < 2)
		co_sleep_ns(1000000);
	co_look_around();
	g_assert_cmpuint(throttle_group_in_line(limits_of(&world)), ==, 2);
	close(world.fd);
	co_check_dropped(&world);
}

/* What is read only to be in a cache is read, too. */
CO_TEST(test_caching_is_limited)
{
	struct world world;

	co_begin_throttled(&world);
	co_ask(world.fd, NBD_CMD_CACHE, DISK);
	while (!throttle_group_in_line(limits_of(&world)))
		co_sleep_ns(1000000);
	close(world.fd);
	co_check_dropped(&world);
}

/* How long failing requests are held has nothing to do with limits. */
CO_TEST(test_waits_longer_than_it_is_held)
{
	struct world world;

	co_begin_throttled(&world);
	world.limits.held_us = 1000;
	co_write_throttled(&world);
	co_look_around();
	co_check_disk(&world, "\0\0\0\0");
	set_limits(&world, "none");
	co_check_answer(world.fd, NBD_SUCCESS);
	close(world.fd);
	co_end(&world);
}

/* The driver must not take us for dead. */
CO_TEST(test_waits_no_longer_than_the_driver)
{
	struct world world;

	co_begin_throttled(&world);
	world.limits.all_us = 1000;
	co_ask(world.fd, NBD_CMD_WRITE, 4);
	co_say(world.fd, "turn", 4);
	co_check_answer(world.fd, NBD_SUCCESS);
	close(world.fd);
	co_end(&world);
}

/* A request that has waited for its turn is held for as long as any other. */
CO_TEST(test_waits_and_is_held)
{
	struct world world;

	co_begin_throttled(&world);
	is_full = true;
	world.limits.held_us = 5900000;
	co_write_throttled(&world);
	co_sleep_ns(3000000000);
	set_limits(&world, "none");
	while (!refused)
		co_sleep_ns(1000000);
	is_full = false;
	co_check_answer(world.fd, NBD_SUCCESS);
	close(world.fd);
	co_end(&world);
}

/* Without memory for more stacks, requests wait until others have ended. */
CO_TEST(test_requests_wait_for_stacks)
{
	struct world world;
	char data[4];

	co_begin(&world);
	reads = READS_ARE_SLOW;
	co_shake_hands(world.fd);
	has_no_stacks = true;
	for (unsigned i = 0; i < DEPTH; i++)
		co_ask(world.fd, NBD_CMD_READ, sizeof(data));
	while (!reads_begun)
		co_sleep_ns(1000000);
	co_look_around();
	g_assert_cmpuint(reads_begun, ==, 1);
	reads = READS_ARE_READY;
	for (unsigned i = 0; i < DEPTH; i++) {
		co_check_answer(world.fd, NBD_SUCCESS);
		co_hear(world.fd, data, sizeof(data));
	}
	has_no_stacks = false;
	close(world.fd);
	co_end(&world);
}

static void park(void *arg)
{
	co_wait_at(arg);
}

#define MOST_HOGGED 64

/* Takes all stacks of the loop, as coroutines that images start do, until it is told to stop. */
struct hog {
	struct client_visit visit;
	_Atomic bool stop;
};

static void hog_co(void *arg)
{
	struct hog *hog = arg;
	struct coroutine *parked[MOST_HOGGED];
	unsigned nr = 0;

	while (!atomic_load(&hog->stop)) {
		for (; co_spare(); nr++) {
			g_assert_cmpuint(nr, <, MOST_HOGGED);
			co_start(park, &parked[nr]);
		}
		co_sleep_ns(1000000);
	}
	while (nr)
		co_wake_at(&parked[--nr]);
	co_reschedule();
}

/* On all loops; and from then on, there is no memory. */
static void co_begin_hogs(const struct world *world, struct hog hogs[LOOPS])
{
	for (unsigned i = 0; i < LOOPS; i++) {
		hogs[i] = (struct hog){ .visit = { .co_fn = hog_co, .arg = &hogs[i] } };
		g_assert_cmpint(client_visit_begin(world->settings.loops, &hogs[i].visit, NULL), ==,
				0);
	}
	co_look_around();
	no_memory = true;
}

static void end_hogs(struct hog hogs[LOOPS])
{
	no_memory = false;
	for (unsigned i = 0; i < LOOPS; i++) {
		hogs[i].stop = true;
		client_visit_wait(&hogs[i].visit);
	}
}

/* Requests go on, and without memory, nobody aborts. */
CO_TEST(test_images_have_taken_all_stacks)
{
	struct hog hogs[LOOPS];
	struct world world;
	char data[4];

	co_begin(&world);
	co_shake_hands(world.fd);
	co_begin_hogs(&world, hogs);
	for (unsigned i = 0; i < 3; i++) {
		co_ask(world.fd, NBD_CMD_READ, sizeof(data));
		co_check_answer(world.fd, NBD_SUCCESS);
		co_hear(world.fd, data, sizeof(data));
		co_look_around();
	}
	end_hogs(hogs);
	close(world.fd);
	co_end(&world);
}

/* It is dropped once its handshake is done. */
CO_TEST(test_no_stacks_for_a_client)
{
	struct hog hogs[LOOPS];
	struct world world;

	co_begin(&world);
	co_look_around();
	co_begin_hogs(&world, hogs);
	co_shake_hands(world.fd);
	while (!nbd_client_ended(world.client))
		co_sleep_ns(1000000);
	end_hogs(hogs);
	close(world.fd);
	co_end(&world);
}

CO_TEST(test_no_memory_for_a_visit)
{
	struct client_loops *loops = client_loops_new(1, NULL);
	struct hog hog = { .visit = { .co_fn = hog_co, .arg = &hog }, .stop = true };
	struct coroutine *parked[MOST_HOGGED];
	g_autoptr(GError) err = NULL;
	unsigned nr = 0;

	for (; co_spare(); nr++) {
		g_assert_cmpuint(nr, <, MOST_HOGGED);
		co_start(park, &parked[nr]);
	}
	co_reschedule();
	no_memory = true;
	g_assert_cmpint(client_visit_begin(loops, &hog.visit, &err), ==, -ENOMEM);
	g_assert_error(err, UBD_ERROR, ENOMEM);
	client_visit_wait(&hog.visit);
	no_memory = false;
	g_assert_cmpint(client_visit_begin(loops, &hog.visit, NULL), ==, 0);
	client_visit_wait(&hog.visit);
	while (nr)
		co_wake_at(&parked[--nr]);
	co_reschedule();
	client_loops_free(loops);
}

struct visit_with_hook {
	struct client_visit visit;
	struct aio_hook hook;
	_Atomic bool has_run;
};

static void note_end_of_turn(struct aio_hook *hook)
{
	struct visit_with_hook *with_hook = container_of(hook, struct visit_with_hook, hook);

	atomic_store(&with_hook->has_run, true);
}

static void leave_hook(void *arg)
{
	struct visit_with_hook *with_hook = arg;

	aio_at_end_of_turn(&with_hook->hook);
}

/* The loop goes on, and the client is freed. */
static void test_visits_outlast_their_turn(void)
{
	struct client_loops *loops = client_loops_new(1, NULL);

	for (int i = 0; i < 1000; i++) {
		struct visit_with_hook one = { .visit = { .co_fn = leave_hook, .arg = &one },
					       .hook = { .fn = note_end_of_turn } };

		g_assert_cmpint(client_visit_begin(loops, &one.visit, NULL), ==, 0);
		client_visit_wait(&one.visit);
		g_assert_true(atomic_load(&one.has_run));
	}
	client_loops_free(loops);
}

struct limits_test {
	const char *name;
	void (*fn)(void);
};

static const struct limits_test limits_tests[] = {
	{ "hanging-up", test_no_turn_for_hanging_up },
	{ "left", test_no_turn_for_a_client_that_left },
	{ "half-by-half", test_leaves_half_by_half },
	{ "late-is-told", test_late_is_told },
	{ "server-ends", test_server_ends_limits },
	{ "memory", test_waiting_needs_no_memory },
	{ "turns", test_clients_take_turns },
	{ "cache", test_caching_is_limited },
	{ "hold-timeout", test_waits_longer_than_it_is_held },
	{ "driver", test_waits_no_longer_than_the_driver },
	{ "held", test_waits_and_is_held },
};

static void test_node_at_the_top(gconstpointer arg)
{
	const struct limits_test *test = arg;

	node_has_limits = true;
	test->fn();
	node_has_limits = false;
}

/* Limits of a node at the top are no different from those of the export. */
static void add_limits_tests(void)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(limits_tests); i++) {
		const struct limits_test *test = &limits_tests[i];
		g_autofree char *of_export = g_strdup_printf("/export-nbd/limits/%s", test->name);
		g_autofree char *of_node = g_strdup_printf("/export-nbd/node/%s", test->name);

		g_test_add_func(of_export, test->fn);
		g_test_add_data_func(of_node, test, test_node_at_the_top);
	}
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/export-nbd/space-comes", test_space_comes);
	g_test_add_func("/export-nbd/client-hangs-up", test_client_hangs_up);
	g_test_add_func("/export-nbd/hangs-up-when-it-holds-all", test_hangs_up_when_it_holds_all);
	g_test_add_func("/export-nbd/server-ends", test_server_ends);
	g_test_add_func("/export-nbd/long-request-ends", test_long_request_ends);
	g_test_add_func("/export-nbd/long-request-is-cut", test_long_request_is_cut);
	g_test_add_func("/export-nbd/late-client-is-dropped", test_late_client_is_dropped);
	g_test_add_func("/export-nbd/memory", test_memory_that_others_wait_for);
	g_test_add_func("/export-nbd/vanished", test_a_host_that_vanishes_is_noticed);
	g_test_add_func("/export-nbd/own-memory", test_own_memory_is_enough);
	g_test_add_func("/export-nbd/left", test_nothing_is_read_for_a_client_that_left);
	g_test_add_func("/export-nbd/memory-of-others", test_memory_of_others_is_not_waited_for);
	g_test_add_func("/export-nbd/clients-share-loops", test_clients_share_loops);
	g_test_add_func("/export-nbd/visits-outlast-their-turn", test_visits_outlast_their_turn);
	add_limits_tests();
	g_test_add_func("/export-nbd/waits-for-stacks", test_requests_wait_for_stacks);
	g_test_add_func("/export-nbd/no-stacks-left", test_images_have_taken_all_stacks);
	g_test_add_func("/export-nbd/no-stacks-for-a-client", test_no_stacks_for_a_client);
	g_test_add_func("/export-nbd/no-memory-for-a-visit", test_no_memory_for_a_visit);
	g_test_add_func("/export-nbd/ready-reads-keep-pace", test_ready_reads_keep_pace);
	g_test_add_func("/export-nbd/slow-reads-begin-together", test_slow_reads_begin_together);
	return leave_scratch(folder, g_test_run());
}
