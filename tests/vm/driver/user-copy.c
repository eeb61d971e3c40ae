// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UBD_F_USER_COPY: the server moves the data of requests by pread() and pwrite() of ubdcN, and
 * a request does not end while somebody does so.
 *
 * The server's threads keep requests for sectors from KEPT_SECTOR on, which the test then serves
 * by hand.
 */
#include "users.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define KEPT_SECTOR 16384
#define SIZE	    65536
#define REISSUE	    (UBD_F_USER_COPY | UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

static struct shared {
	int id;	     /* of the device once it is live or recovered, before that -1 */
	int nr_kept; /* requests */
	int q_id;    /* of the last one */
	int tag;
	int asleep; /* a copy of it waits for memory */
	int keeps;
	int control; /* the server's fd, of which clients are to keep no copy */
	uint8_t *disk;
} * shared;

static void *map_memory(size_t size, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static void share(void)
{
	shared = map_memory(4096, MAP_SHARED);
	shared->disk = map_memory(usual_params().dev_sectors * 512, MAP_SHARED);
	shared->id = -1;
	shared->control = -1;
	shared->keeps = true;
}

static int keep_some(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	CHECK_EQ(desc->addr, 0);
	if (desc->start_sector < KEPT_SECTOR || !get(&shared->keeps))
		return server_handle(server, desc, buffer);
	for (int i = 0; i < server->info.nr_hw_queues; i++) {
		uintptr_t tag = (uintptr_t)desc - (uintptr_t)server->queues[i].descs;

		if (tag / sizeof(*desc) >= server->info.queue_depth)
			continue;
		set(&shared->q_id, i);
		set(&shared->tag, tag / sizeof(*desc));
	}
	__atomic_add_fetch(&shared->nr_kept, 1, __ATOMIC_SEQ_CST);
	return SERVER_KEEP;
}

static void init_server(struct server *server)
{
	server_init(server);
	server->info.flags = UBD_F_USER_COPY;
	server->memory = shared->disk;
	server->handle = keep_some;
}

static void run_server(struct server *server)
{
	share();
	init_server(server);
	server_run(server);
	set(&shared->control, server->control);
	set(&shared->id, server->info.dev_id);
}

/* ---- clients: processes that do one thing to the disk ---- */

static void fill(uint8_t *data)
{
	for (size_t i = 0; i < SIZE; i++)
		data[i] = i * 7 + i / 251;
}

static void write_kept(void *arg)
{
	uint8_t *data = aligned(SIZE);

	fill(data);
	CHECK_EQ(pwrite(open_disk(get(&shared->id), O_RDWR), data, SIZE, KEPT_SECTOR * 512), SIZE);
}

static void read_kept(void *arg)
{
	uint8_t *data = aligned(SIZE), *wanted = aligned(SIZE);

	fill(wanted);
	CHECK_EQ(pread(open_disk(get(&shared->id), O_RDWR), data, SIZE, KEPT_SECTOR * 512), SIZE);
	CHECK(!memcmp(data, wanted, SIZE));
}

static void fail_to_write_kept(void *arg)
{
	int disk = open_disk(get(&shared->id), O_RDWR);

	close(get(&shared->control));
	CHECK(pwrite(disk, aligned(SIZE), SIZE, KEPT_SECTOR * 512) < 0);
	CHECK_EQ(errno, EIO);
}

/* The request is then where shared->q_id and tag say. */
static int spawn_client(void (*run)(void *))
{
	int before = get(&shared->nr_kept), pid = spawn(run, NULL);

	WAIT_UNTIL(get(&shared->nr_kept) > before, AGE);
	return pid;
}

static off_t kept_data(void)
{
	return ubd_data_offset(get(&shared->q_id), get(&shared->tag));
}

static int commit(const struct server *server, int result)
{
	return io_command(server->cdev, UBD_IO_COMMIT_REQ, get(&shared->q_id), get(&shared->tag),
			  result, NULL);
}

static bool is_running(int pid)
{
	return waitpid(pid, NULL, WNOHANG) == 0;
}

/* ---- moving data ---- */

static void what_is_written_is_read(void)
{
	const size_t sizes[] = { 512, 4096, 4608, 65536, 131072, 1 << 20 };
	uint8_t *out = aligned(1 << 20), *in = aligned(1 << 20);
	struct server server;
	int disk;

	run_server(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	for (size_t i = 0; i < 6; i++) {
		off_t off = 512 * (1 + 7 * i);

		for (size_t j = 0; j < sizes[i]; j++)
			out[j] = j * 13 + j / 253 + i;
		CHECK_EQ(pwrite(disk, out, sizes[i], off), sizes[i]);
		CHECK(!memcmp(server.memory + off, out, sizes[i]));
		memset(in, 0, sizes[i]);
		CHECK_EQ(pread(disk, in, sizes[i], off), sizes[i]);
		CHECK(!memcmp(in, out, sizes[i]));
	}
	close(disk);
	server_delete(&server);
}

static ssize_t ring_rw(int fd, void *data, size_t bytes, off_t off, bool writes)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	ssize_t res;

	CHECK_EQ(io_uring_queue_init(1, &ring, 0), 0);
	sqe = io_uring_get_sqe(&ring);
	if (writes)
		io_uring_prep_write(sqe, fd, data, bytes, off);
	else
		io_uring_prep_read(sqe, fd, data, bytes, off);
	/* Inline: what is there at once was not done by a worker. */
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_uring_peek_cqe(&ring, &cqe), 0);
	res = cqe->res;
	io_uring_queue_exit(&ring);
	return res;
}

static ssize_t three_parts(ssize_t (*move)(int, const struct iovec *, int, off_t), int fd,
			   uint8_t *data, size_t bytes, off_t off)
{
	struct iovec parts[] = { { data, 1 }, { data + 1, 5000 }, { data + 5001, bytes - 5001 } };

	return move(fd, parts, 3, off);
}

static void a_write_is_taken_in_parts(void)
{
	uint8_t *data = aligned(SIZE), *wanted = aligned(SIZE);
	struct server server;
	off_t off;
	int pid;

	run_server(&server);
	fill(wanted);
	pid = spawn_client(write_kept);
	off = kept_data();
	CHECK_EQ(pread(server.cdev, data, 513, off), 513);
	CHECK_EQ(three_parts(preadv, server.cdev, data + 513, 20000, off + 513), 20000);
	CHECK_EQ(ring_rw(server.cdev, data + 20513, 30000, off + 20513, false), 30000);
	CHECK_EQ(pread(server.cdev, data + 50513, SIZE - 50513, off + 50513), SIZE - 50513);
	CHECK(!memcmp(data, wanted, SIZE));
	CHECK_EQ(commit(&server, SIZE), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* Last part first. */
static void a_read_is_given_in_parts(void)
{
	uint8_t *data = aligned(SIZE);
	struct server server;
	off_t off;
	int pid;

	run_server(&server);
	fill(data);
	pid = spawn_client(read_kept);
	off = kept_data();
	CHECK_EQ(pwrite(server.cdev, data + 50513, SIZE - 50513, off + 50513), SIZE - 50513);
	CHECK_EQ(ring_rw(server.cdev, data + 20513, 30000, off + 20513, true), 30000);
	CHECK_EQ(three_parts(pwritev, server.cdev, data + 513, 20000, off + 513), 20000);
	CHECK_EQ(pwrite(server.cdev, data, 513, off), 513);
	CHECK_EQ(commit(&server, SIZE), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* The copy is short, or fails; the request does not. */
static void memory_that_faults_fails_the_copy_only(void)
{
	uint8_t *data = map_memory(8192, MAP_PRIVATE);
	struct server server;
	int pid;

	run_server(&server);
	CHECK_EQ(mprotect(data + 4096, 4096, PROT_NONE), 0);
	pid = spawn_client(write_kept);
	CHECK_EQ(pread(server.cdev, data, 8192, kept_data()), 4096);
	CHECK(pread(server.cdev, data + 4096, 4096, kept_data()) < 0);
	CHECK_EQ(errno, EFAULT);
	CHECK_EQ(commit(&server, SIZE), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

/* ---- what is refused ---- */

static void check_copies(int cdev, off_t off, size_t bytes, int read_error, int write_error)
{
	uint8_t *data = aligned(bytes + 1);
	ssize_t res = pread(cdev, data, bytes, off);

	CHECK_EQ(res < 0 ? errno : 0, read_error);
	res = pwrite(cdev, data, bytes, off);
	CHECK_EQ(res < 0 ? errno : 0, write_error);
}

static void copy_from_child(void *arg)
{
	check_copies(*(int *)arg, kept_data(), 512, EPERM, EPERM);
}

static void copies_of_what_the_server_has_not_are_refused(void)
{
	struct server server;
	int pid, cdev;
	off_t off;

	run_server(&server);
	cdev = server.cdev;
	pid = spawn_client(write_kept);
	off = kept_data();
	check_copies(cdev, off, 512, 0, EINVAL);
	check_copies(cdev, off + SIZE - 512, 512, 0, EINVAL);
	check_copies(cdev, off + SIZE - 511, 512, EINVAL, EINVAL);
	check_copies(cdev, off, SIZE + 1, EINVAL, EINVAL);
	check_copies(cdev, off + SIZE, 1, EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(get(&shared->q_id), (get(&shared->tag) + 1) % 8), 512,
		     EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(get(&shared->q_id), 8), 512, EINVAL, EINVAL);
	check_copies(cdev, ubd_data_offset(2, get(&shared->tag)), 512, EINVAL, EINVAL);
	check_copies(cdev, off | 1ull << 49, 512, EINVAL, EINVAL);
	check_copies(cdev, off | 1ull << 62, 512, EINVAL, EINVAL);
	check_exit(spawn(copy_from_child, &cdev), 0);
	CHECK(is_running(pid));
	CHECK_EQ(commit(&server, SIZE), 0);
	check_exit(pid, 0);
	check_copies(cdev, off, 512, EINVAL, EINVAL);

	pid = spawn_client(read_kept);
	fill(shared->disk);
	off = kept_data();
	check_copies(cdev, off, 512, EINVAL, 0);
	CHECK_EQ(pwrite(cdev, shared->disk, SIZE, off), SIZE);
	CHECK_EQ(commit(&server, SIZE), 0);
	check_exit(pid, 0);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	check_copies(cdev, off, 512, ENODEV, ENODEV);
	server_delete(&server);
}

static void it_is_the_device_that_copies_or_the_server(void)
{
	struct server server;
	uint8_t buffer[512];
	uint64_t features;
	int fd = open("/dev/ubd-control", O_RDWR);

	CHECK_EQ(control(fd, UBD_CMD_GET_FEATURES, &features, sizeof(features)), 0);
	CHECK(features & UBD_F_USER_COPY);
	close(fd);

	server_init(&server);
	server_run(&server);
	check_copies(server.cdev, 0, 512, EINVAL, EINVAL);
	server_delete(&server);

	share();
	init_server(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, 0, 0, 0, buffer), -EINVAL);
	CHECK_EQ(io_command(server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, 0, buffer), -EINVAL);
	server_serve(&server);
	server_start(&server);
	server_delete(&server);
}

/* A file that OPEN_CHAR made takes copies as the node does. */
static void copies_need_no_node(void)
{
	struct server server;
	int disk;

	share();
	init_server(&server);
	server_add(&server);
	server_open_by_control(&server);
	server_serve(&server);
	server_start(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(pwrite(disk, aligned(4096), 4096, 0), 4096);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
	close(disk);
	server_delete(&server);
}

/* ---- a copy that takes time ---- */

/* A page that is not there until somebody wakes who waits for it. */
struct missing {
	uint8_t *page;
	int fd;
	int cdev;
	pthread_t thread;
	ssize_t copied;
};

static void *copy_to_missing(void *arg)
{
	struct missing *missing = arg;

	missing->copied = pread(missing->cdev, missing->page, 4096, kept_data());
	return NULL;
}

/* A thread copies from the kept request, and sleeps in the middle of it. */
static void start_slow_copy(struct missing *missing, int cdev)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pollfd poll_fd;

	missing->cdev = cdev;
	missing->page = map_memory(4096, MAP_PRIVATE);
	missing->fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	CHECK(missing->fd >= 0);
	CHECK_EQ(ioctl(missing->fd, UFFDIO_API, &api), 0);
	range.range.start = (uintptr_t)missing->page;
	range.range.len = 4096;
	CHECK_EQ(ioctl(missing->fd, UFFDIO_REGISTER, &range), 0);
	CHECK_EQ(pthread_create(&missing->thread, NULL, copy_to_missing, missing), 0);
	poll_fd = (struct pollfd){ .fd = missing->fd, .events = POLLIN };
	CHECK_EQ(poll(&poll_fd, 1, AGE * 1000), 1);
	CHECK_EQ(poll_fd.revents, POLLIN);
}

static void end_slow_copy(struct missing *missing)
{
	struct uffdio_zeropage page = { .range = { (uintptr_t)missing->page, 4096 } };

	CHECK_EQ(ioctl(missing->fd, UFFDIO_ZEROPAGE, &page), 0);
	CHECK_EQ(pthread_join(missing->thread, NULL), 0);
	CHECK_EQ(missing->copied, 4096);
	close(missing->fd);
}

static void check_start_of_write(const struct missing *missing)
{
	uint8_t *wanted = aligned(SIZE);

	fill(wanted);
	CHECK(!memcmp(missing->page, wanted, 4096));
}

/* It is not waited for by who commits; but the request and its pages are there until it ends. */
static void a_commit_during_a_copy_ends_the_request_after_it(void)
{
	struct missing missing;
	struct server server;
	int pid;

	run_server(&server);
	pid = spawn_client(write_kept);
	start_slow_copy(&missing, server.cdev);
	CHECK_EQ(commit(&server, SIZE), 0);
	CHECK_EQ(commit(&server, SIZE), -EINVAL);
	check_copies(server.cdev, kept_data(), 512, EINVAL, EINVAL);
	usleep(50000);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_start_of_write(&missing);
	check_exit(pid, 0);
	server_delete(&server);
}

/* A FETCH, sent with the COMMIT or after it, waits meanwhile, and there can be but one. */
static void a_fetch_waits_while_its_tag_is_held(bool with_commit)
{
	struct io_uring_cqe *cqe;
	struct missing missing;
	struct io_uring ring;
	struct server server;
	int pid, q_id, tag;

	run_server(&server);
	pid = spawn_client(write_kept);
	q_id = get(&shared->q_id);
	tag = get(&shared->tag);
	start_slow_copy(&missing, server.cdev);
	CHECK_EQ(io_uring_queue_init(4, &ring, 0), 0);
	if (!with_commit)
		CHECK_EQ(commit(&server, SIZE), 0);
	prep_io(io_uring_get_sqe(&ring), server.cdev,
		with_commit ? UBD_IO_COMMIT_AND_FETCH_REQ : UBD_IO_FETCH_REQ, q_id, tag, SIZE,
		NULL);
	CHECK_EQ(io_uring_submit(&ring), 1);
	CHECK_EQ(io_command(server.cdev, UBD_IO_FETCH_REQ, q_id, tag, 0, NULL), -EBUSY);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_exit(pid, 0);
	CHECK_EQ(io_uring_cq_ready(&ring), 0);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	CHECK_EQ(cqe->res, UBD_IO_RES_ABORT);
	io_uring_queue_exit(&ring);
	server_delete(&server);
}

static void a_commit_and_fetch_during_a_copy(void)
{
	a_fetch_waits_while_its_tag_is_held(true);
}

static void a_fetch_after_a_commit_during_a_copy(void)
{
	a_fetch_waits_while_its_tag_is_held(false);
}

/* FETCHes end at once, the request when the copy does. */
static void an_abort_during_a_copy_waits_for_it(void)
{
	struct missing missing;
	struct server server;
	int pid;

	run_server(&server);
	pid = spawn_client(fail_to_write_kept);
	start_slow_copy(&missing, server.cdev);
	close(server.control);
	for (int i = 0; i < server.info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
	CHECK_EQ(commit(&server, SIZE), UBD_IO_RES_ABORT);
	usleep(50000);
	CHECK(is_running(pid));
	end_slow_copy(&missing);
	check_exit(pid, 0);
	close(server.cdev);
}

/* ---- the server is killed in the middle of a copy ---- */

static void sleep_in_copy(struct server *server)
{
	struct missing missing;

	WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
	start_slow_copy(&missing, server->cdev);
	set(&shared->asleep, true);
	pause();
}

static void serve_and_sleep(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = *(uint64_t *)arg;
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	sleep_in_copy(&server);
}

static void serve_next(void *arg)
{
	struct server server;

	init_server(&server);
	server_recover(&server, *(int *)arg);
	set(&shared->id, server.info.dev_id);
	pause();
}

static int spawn_sleeper(uint64_t flags)
{
	int pid;

	share();
	pid = spawn(serve_and_sleep, &flags);
	WAIT_UNTIL(get(&shared->id) >= 0, AGE);
	return pid;
}

static void kill_server(int pid)
{
	CHECK_EQ(kill(pid, SIGKILL), 0);
	check_exit(pid, SIGKILL);
}

static void a_server_killed_during_a_copy_fails_the_request(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->asleep), AGE);
	kill_server(server);
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

static void a_request_is_reissued_after_the_copy(void)
{
	int server = spawn_sleeper(REISSUE), client = spawn_client(write_kept);
	int id = get(&shared->id), fd;
	uint8_t *wanted = aligned(SIZE);

	WAIT_UNTIL(get(&shared->asleep), AGE);
	kill_server(server);
	CHECK(is_running(client));
	set(&shared->keeps, false);
	set(&shared->id, -1);
	server = spawn(serve_next, &id);
	WAIT_UNTIL(get(&shared->id) >= 0, AGE);
	check_exit(client, 0);
	fill(wanted);
	CHECK(!memcmp(shared->disk + KEPT_SECTOR * 512, wanted, SIZE));
	fd = open_dev(id);
	CHECK_EQ(control(fd, UBD_CMD_DEL_DEV, NULL, 0), 0);
	kill_server(server);
	close(fd);
}

/* Its copy would never end, and its request neither. */
static void a_server_that_sleeps_in_a_copy_is_killed(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->asleep), AGE);
	set_param("request_timeout", "1");
	check_exit(server, SIGKILL);
	set_param("request_timeout", "300");
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* The data of requests is moved by four threads that hurry, while others commit and the end comes.
 */
struct race {
	struct server *server;
	bool ends;
};

static void *copy_anything(void *arg)
{
	struct race *race = arg;
	uint8_t *data = aligned(SIZE);
	unsigned int seed = gettid();

	while (!__atomic_load_n(&race->ends, __ATOMIC_SEQ_CST)) {
		off_t off = ubd_data_offset(rand_r(&seed) % 2, rand_r(&seed) % 8);

		/* What a read gets is what the server's own thread puts there last, or this. */
		if (rand_r(&seed) % 2)
			pread(race->server->cdev, data, 4096, off);
		else
			pwrite(race->server->cdev, data, 512, off);
	}
	return NULL;
}

static void use_disk(void *arg)
{
	int disk = open(block_node(get(&shared->id)), O_RDWR | O_DIRECT);
	uint8_t *data = aligned(4096);

	for (int i = 0; disk >= 0; i++) {
		off_t off = (off_t)(i * 37 % 1024) * 4096;

		if ((i % 2 ? pwrite(disk, data, 4096, off) : pread(disk, data, 4096, off)) != 4096)
			break;
	}
}

static void copies_race_with_commits_and_the_end(void)
{
	for (int round = 0; round < 5; round++) {
		struct server server;
		struct race race = { .server = &server };
		pthread_t threads[3];
		int clients[2];

		run_server(&server);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_create(&threads[i], NULL, copy_anything, &race), 0);
		for (int i = 0; i < 2; i++)
			clients[i] = spawn(use_disk, NULL);
		set(&shared->keeps, false);
		usleep(50000 + round * 10000);
		CHECK_EQ(control(server.control, UBD_CMD_DEL_DEV, NULL, 0), 0);
		__atomic_store_n(&race.ends, true, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
		for (int i = 0; i < 2; i++)
			check_exit(clients[i], 0);
		for (int i = 0; i < server.info.nr_hw_queues; i++)
			CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
		close(server.cdev);
		close(server.control);
	}
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "what is written is read", what_is_written_is_read },
		{ "a write is taken in parts", a_write_is_taken_in_parts },
		{ "a read is given in parts", a_read_is_given_in_parts },
		{ "memory that faults fails the copy only",
		  memory_that_faults_fails_the_copy_only },
		{ "copies of what the server has not are refused",
		  copies_of_what_the_server_has_not_are_refused },
		{ "it is the device that copies or the server",
		  it_is_the_device_that_copies_or_the_server },
		{ "copies need no node", copies_need_no_node },
		{ "a COMMIT during a copy ends the request after it",
		  a_commit_during_a_copy_ends_the_request_after_it },
		{ "a COMMIT_AND_FETCH during a copy waits for a request after it",
		  a_commit_and_fetch_during_a_copy },
		{ "a FETCH after a COMMIT during a copy does so too",
		  a_fetch_after_a_commit_during_a_copy },
		{ "an abort during a copy waits for it", an_abort_during_a_copy_waits_for_it },
		{ "a server killed during a copy fails the request",
		  a_server_killed_during_a_copy_fails_the_request },
		{ "a request is reissued after the copy", a_request_is_reissued_after_the_copy },
		{ "a server that sleeps in a copy is killed",
		  a_server_that_sleeps_in_a_copy_is_killed },
		{ "copies race with commits and the end", copies_race_with_commits_and_the_end },
	};

	return RUN_TESTS(tests, argc, argv);
}
