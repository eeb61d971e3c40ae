// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Processes that do not trust each other use the driver at the same time (R5): whatever one of them
 * sends, and whenever it dies, it gets an errno, and no other process is affected.
 */
#include "lib.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOSTILE_UID 1000
#define HONEST_UID  1001

/* A tag that no other command here names, of queues that are one deeper than it. */
#define LAST_TAG    9

#define IS_COPY	    0x10000 /* in user_data */

static struct shared {
	int hostile_id; /* of the device, before there is one -1 */
	int honest_id;
	int nr_commands; /* that the hostile process has sent */
	int nr_rounds;	 /* that a client of the honest server has verified */
	int ends;
} * shared;

static void share(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	shared->hostile_id = shared->honest_id = -1;
}

/* A user who may add devices and open their nodes, until drop_rights(). */
static void become(uid_t uid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = {};

	CHECK_EQ(prctl(PR_SET_KEEPCAPS, 1), 0);
	CHECK_EQ(setgroups(0, NULL), 0);
	CHECK_EQ(setresgid(uid, uid, uid), 0);
	CHECK_EQ(setresuid(uid, uid, uid), 0);
	sets[0].effective = sets[0].permitted = 1u << CAP_SYS_ADMIN | 1u << CAP_DAC_OVERRIDE;
	CHECK_EQ(syscall(SYS_capset, &header, sets), 0);
}

static void drop_rights(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = {};

	CHECK_EQ(syscall(SYS_capset, &header, sets), 0);
}

/* ---- the honest server, and its client ---- */

static void serve_honestly(void *arg)
{
	struct server server;

	become(HONEST_UID);
	server_init(&server);
	server_run(&server);
	drop_rights();
	set(&shared->honest_id, server.info.dev_id);
	for (;;)
		pause();
}

static void verify(void *arg)
{
	int disk = open_disk(get(&shared->honest_id), O_RDWR);
	uint8_t *out = aligned(16384), *in = aligned(16384);

	for (int i = 0; !get(&shared->ends); i++) {
		off_t off = i * 7919 % 512 * 16384;

		memset(out, i, 16384);
		CHECK_EQ(pwrite(disk, out, 16384, off), 16384);
		CHECK_EQ(pread(disk, in, 16384, off), 16384);
		CHECK(!memcmp(in, out, 16384));
		set(&shared->nr_rounds, i + 1);
	}
}

/* The honest one must get on by so many rounds. */
static void check_goes_on(int rounds)
{
	int start = get(&shared->nr_rounds);

	WAIT_UNTIL(get(&shared->nr_rounds) >= start + rounds, AGE);
}

/* ---- the hostile one ---- */

static bool is_errno_of_the_wire(int res)
{
	switch (res) {
	case 0:
	case -EINVAL:
	case -EFAULT:
	case -EPERM:
	case -EBUSY:
	case -ENODEV:
		return true;
	default:
		return false;
	}
}

static uint64_t one_of(unsigned int *seed, const uint64_t *values, size_t nr)
{
	return values[rand_r(seed) % nr];
}

#define ONE_OF(seed, ...)                                                                          \
	one_of(seed, (const uint64_t[]){ __VA_ARGS__ },                                            \
	       sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

/* UBD_F_* of a device, a different way each round. */
static uint64_t way_for_data(int round)
{
	int fd = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);
	uint64_t features;

	CHECK_EQ(control(fd, UBD_CMD_GET_FEATURES, &features, sizeof(features)), 0);
	close(fd);
	return (uint64_t[]){ 0, UBD_F_USER_COPY,
			     features & (UBD_F_USER_COPY | UBD_F_ZERO_COPY) }[round % 3];
}

/* What most FETCHes name, unless the device copies nothing; or an index. */
static void *buffer_for(uint64_t flags)
{
	return flags & UBD_F_USER_COPY ? NULL : aligned(128 << 10);
}

static void init_ring(struct io_uring *ring)
{
	CHECK_EQ(io_uring_queue_init(64, ring, IORING_SETUP_SUBMIT_ALL), 0);
	CHECK_EQ(io_uring_register_buffers_sparse(ring, 4), 0);
}

static void prep_nonsense(struct io_uring_sqe *sqe, int cdev, unsigned int *seed, void *buffer)
{
	uint32_t op =
		ONE_OF(seed, UBD_IO_FETCH_REQ, UBD_IO_COMMIT_AND_FETCH_REQ, UBD_IO_COMMIT_REQ,
		       UBD_IO_FETCH_REQ, UBD_IO_COMMIT_AND_FETCH_REQ, 0x23, 0, UBD_CMD_DEL_DEV);
	uint64_t addr = ONE_OF(seed, (uintptr_t)buffer, (uintptr_t)buffer, 0, 8, 1ull << 63, ~0ull);

	prep_io(sqe, cdev, op, ONE_OF(seed, 0, 1, 0, 1, 2, 0xffff),
		ONE_OF(seed, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffff),
		ONE_OF(seed, 0, 512, 4096, -5, INT32_MIN, INT32_MAX, -EAGAIN), (void *)addr);
	sqe->rw_flags = ONE_OF(seed, 0, 0, 0, 0, 1, 1u << 31);
}

static off_t data_of_any_tag(unsigned int *seed)
{
	return ubd_data_offset(ONE_OF(seed, 0, 1, 0, 1, 2), ONE_OF(seed, 0, 1, 2, 3, 4, 5, 8)) +
	       ONE_OF(seed, 0, 0, 512, 4096, UBD_MAX_IO_BYTES - 1);
}

/* By a call, or from and into the pages of requests. */
static void copy_nonsense(struct io_uring *ring, int cdev, unsigned int *seed, void *memory)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	size_t bytes = ONE_OF(seed, 1, 512, 4096, 65536);
	off_t off = data_of_any_tag(seed);
	ssize_t res;

	res = rand_r(seed) % 2 ? pread(cdev, memory, bytes, off) : pwrite(cdev, memory, bytes, off);
	CHECK(res >= 0 || is_errno_of_the_wire(-errno));
	if (rand_r(seed) % 2)
		io_uring_prep_read_fixed(sqe, cdev, NULL, bytes, off, rand_r(seed) % 5);
	else
		io_uring_prep_write_fixed(sqe, cdev, NULL, bytes, off, rand_r(seed) % 5);
	sqe->user_data = IS_COPY;
}

static void take_answers(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(ring, &cqe) == 0) {
		CHECK(is_errno_of_the_wire(cqe->res) ||
		      (cqe->user_data == IS_COPY && cqe->res > 0));
		io_uring_cqe_seen(ring, cqe);
	}
}

/* Commands from several threads, each with its own ring, as long as the process lives. */
static void *send_nonsense(void *arg)
{
	const struct server *server = arg;
	void *buffer = buffer_for(server->info.flags), *memory = aligned(65536);
	unsigned int seed = gettid();
	struct io_uring ring;

	init_ring(&ring);
	for (;;) {
		for (int i = 0; i < 8; i++)
			prep_nonsense(io_uring_get_sqe(&ring), server->cdev, &seed, buffer);
		copy_nonsense(&ring, server->cdev, &seed, memory);
		CHECK(io_uring_submit(&ring) >= 0);
		take_answers(&ring);
		__atomic_add_fetch(&shared->nr_commands, 8, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* A child has the file, but may not send anything. */
static void send_from_child(void *arg)
{
	int cdev = *(int *)arg;
	char buffer[8];

	for (int i = 0; i < 16; i++)
		CHECK_EQ(io_command(cdev, UBD_IO_FETCH_REQ + i % 3, i / 8, i % 8, 0, buffer),
			 -EPERM);
}

/* Without privileges; the numbers of other users' devices are no secret. */
static void reach_for_the_other(int node)
{
	struct ubd_open_dev arg = { .dev_id = get(&shared->honest_id) };

	CHECK_EQ(control(node, UBD_CMD_OPEN_DEV, &arg, sizeof(arg)), -EACCES);
	CHECK(open(char_node(arg.dev_id), O_RDWR) < 0);
	CHECK_EQ(errno, EACCES);
	CHECK(open(block_node(arg.dev_id), O_RDONLY) < 0);
	CHECK_EQ(errno, EACCES);
	CHECK(kill(1, 0) < 0);
}

static void *start_in_a_thread(void *arg)
{
	int res = control(*(int *)arg, UBD_CMD_START_DEV, NULL, 0);

	CHECK(res == 0 || res == -ENODEV || res == -EBUSY);
	return NULL;
}

static void be_hostile(void *arg)
{
	int node = open("/dev/ubd-control", O_RDWR);
	pthread_t threads[4];
	struct server server;

	become(HOSTILE_UID);
	server_init(&server);
	server.info.flags = *(uint64_t *)arg;
	server_add(&server);
	server_open(&server);
	drop_rights();
	set(&shared->hostile_id, server.info.dev_id);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, send_nonsense, &server), 0);
	CHECK_EQ(pthread_create(&threads[3], NULL, start_in_a_thread, &server.control), 0);
	for (;;) {
		reach_for_the_other(node);
		check_exit(spawn(send_from_child, &server.cdev), 0);
		CHECK_EQ(control(server.control, UBD_CMD_SET_PARAMS, &server.params, 8), -EINVAL);
		start_in_a_thread(&server.control);
	}
}

static void r5_a_hostile_user_harms_only_himself(void)
{
	int honest, hostile, client;

	share();
	honest = spawn(serve_honestly, NULL);
	WAIT_UNTIL(get(&shared->honest_id) >= 0, AGE);
	client = spawn(verify, NULL);
	check_goes_on(5);
	for (int round = 0; round < 3; round++) {
		uint64_t flags = way_for_data(round);

		set(&shared->nr_commands, 0);
		set(&shared->hostile_id, -1);
		hostile = spawn(be_hostile, &flags);
		WAIT_UNTIL(get(&shared->nr_commands) > 2000, AGE);
		CHECK_EQ(waitpid(hostile, NULL, WNOHANG), 0);
		check_goes_on(10);
		CHECK_EQ(kill(hostile, SIGKILL), 0);
		check_exit(hostile, SIGKILL);
		WAIT_UNTIL(!exists(char_node(get(&shared->hostile_id))), AGE);
	}
	set(&shared->ends, true);
	check_exit(client, 0);
	CHECK_EQ(kill(honest, SIGKILL), 0);
	check_exit(honest, SIGKILL);
}

/* ---- who does not answer is waited for by nobody else ---- */

static int keep_all(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	return SERVER_KEEP;
}

static void start_and_hang(void *arg)
{
	struct server server;

	server_init(&server);
	server.handle = keep_all;
	server_run(&server);
}

/* More starts than there are CPUs hang in their partition scans. */
static void r5_servers_that_hang_hinder_nobody(void)
{
	int hanging[8];

	share();
	for (int i = 0; i < 8; i++)
		hanging[i] = spawn(start_and_hang, NULL);
	WAIT_UNTIL(exists(char_node(7)), AGE);
	usleep(300000);
	for (int i = 0; i < 3; i++) {
		struct server server;
		int disk;

		server_init(&server);
		server_run(&server);
		disk = open_disk(server.info.dev_id, O_RDWR);
		CHECK_EQ(pwrite(disk, aligned(4096), 4096, 4096), 4096);
		close(disk);
		server_delete(&server);
	}
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(waitpid(hanging[i], NULL, WNOHANG), 0);
		CHECK_EQ(kill(hanging[i], SIGKILL), 0);
		check_exit(hanging[i], SIGKILL);
	}
}

/* ---- commands while the device, or their sender, comes to its end ---- */

struct storm {
	struct server *server;
	bool ends;
};

static void *storm(void *arg)
{
	struct storm *storm = arg;
	void *buffer = buffer_for(storm->server->info.flags);
	unsigned int seed = gettid();
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	bool is_last;
	int res;

	init_ring(&ring);
	while (!__atomic_load_n(&storm->ends, __ATOMIC_SEQ_CST)) {
		prep_nonsense(io_uring_get_sqe(&ring), storm->server->cdev, &seed, buffer);
		CHECK(io_uring_submit(&ring) >= 0);
		take_answers(&ring);
	}
	/* After DEL_DEV none may wait any more: not the last, and none of those before it. */
	prep_io(io_uring_get_sqe(&ring), storm->server->cdev, UBD_IO_FETCH_REQ, 0, LAST_TAG, 0,
		buffer);
	CHECK_EQ(io_uring_submit(&ring), 1);
	do {
		CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
		CHECK(is_errno_of_the_wire(cqe->res));
		is_last = cqe->user_data == LAST_TAG;
		res = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
	} while (!is_last);
	CHECK_EQ(res, UBD_IO_RES_ABORT);
	io_uring_queue_exit(&ring);
	return NULL;
}

static void commands_race_with_stop_and_delete(void)
{
	for (int round = 0; round < 15; round++) {
		struct server server;
		struct storm storms = { .server = &server };
		pthread_t threads[3];

		server_init(&server);
		server.info.flags = way_for_data(round);
		server.info.queue_depth = LAST_TAG + 1;
		server_add(&server);
		server_open(&server);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, storm, &storms), 0);
		usleep(5000 * round);
		if (round % 2)
			CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
		CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
		__atomic_store_n(&storms.ends, true, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
		close(server.cdev);
		close(server.control);
	}
}

static void *exit_soon(void *arg)
{
	usleep(10000 + *(int *)arg * 3000);
	_exit(0);
}

static void exit_in_a_storm(void *arg)
{
	struct storm storms = {};
	struct server server;
	pthread_t thread;

	storms.server = &server;
	server_init(&server);
	server.info.flags = way_for_data(*(int *)arg);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(pthread_create(&thread, NULL, exit_soon, arg), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&thread, NULL, storm, &storms), 0);
	storm(&storms);
}

static void commands_race_with_the_exit_of_their_sender(void)
{
	for (int round = 0; round < 15; round++) {
		check_exit(spawn(exit_in_a_storm, &round), 0);
		WAIT_UNTIL(!exists("/dev/ubdc0"), AGE);
	}
}

/* ---- another ring ---- */

/* One ring may commit and fetch what another has fetched; the answer then goes to that ring. */
static void a_tag_may_change_its_ring(void)
{
	struct server server;
	struct io_uring rings[2];
	struct io_uring_cqe *cqe;
	uint8_t *data = aligned(4096);
	pthread_t starter;

	server_init(&server);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = 1;
	server_add(&server);
	server_open(&server);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(io_uring_queue_init(4, &rings[i], 0), 0);
	prep_io(io_uring_get_sqe(&rings[0]), server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, data);
	CHECK_EQ(io_uring_submit(&rings[0]), 1);
	CHECK_EQ(pthread_create(&starter, NULL, start_in_a_thread, &server.control), 0);
	for (int i = 0; i < 4; i++) {
		struct io_uring *ring = &rings[i % 2], *other = &rings[(i + 1) % 2];

		if (io_uring_wait_cqe_timeout(ring, &cqe, &(struct __kernel_timespec){ 1, 0 }) < 0)
			break; /* the scan reads no more */
		CHECK_EQ(cqe->res, UBD_IO_RES_OK);
		io_uring_cqe_seen(ring, cqe);
		prep_io(io_uring_get_sqe(other), server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0,
			server.queues[0].descs[0].nr_sectors * 512, data);
		CHECK_EQ(io_uring_submit(other), 1);
	}
	CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
	CHECK_EQ(pthread_join(starter, NULL), 0);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R5: a hostile user harms only himself", r5_a_hostile_user_harms_only_himself },
		{ "R5: servers that hang hinder nobody", r5_servers_that_hang_hinder_nobody },
		{ "commands race with STOP_DEV and DEL_DEV", commands_race_with_stop_and_delete },
		{ "commands race with the exit of their sender",
		  commands_race_with_the_exit_of_their_sender },
		{ "a tag may change its ring", a_tag_may_change_its_ring },
	};

	return RUN_TESTS(tests, argc, argv);
}
