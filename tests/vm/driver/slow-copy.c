// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copies to and from server memory that is missing: waiting for it delays nothing else, whatever
 * happens to the request and to the server meanwhile. By the server, with UBD_F_USER_COPY; by the
 * driver; and with memory that is a file on a file system that does not answer.
 */
#include "kept.h"
#include "missing.h"
#include "users.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define PAGE_BYTES 4096
#define REISSUE	   (UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

/* ---- copies by the server ---- */

/* A thread that copies from the kept request, and sleeps in the middle of it. */
struct sleeper {
	struct missing missing;
	uint8_t *page;
	int cdev;
	off_t off;
	pthread_t thread;
	ssize_t copied;
	int error;
};

static void *copy_to_missing(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->copied = pread(sleeper->cdev, sleeper->page, PAGE_BYTES, sleeper->off);
	sleeper->error = errno;
	return NULL;
}

static void start_slow_copy(struct sleeper *sleeper, int cdev)
{
	sleeper->cdev = cdev;
	sleeper->off = kept_data();
	sleeper->page = map_pages(PAGE_BYTES);
	missing_init(&sleeper->missing);
	missing_take(&sleeper->missing, sleeper->page, PAGE_BYTES);
	CHECK_EQ(pthread_create(&sleeper->thread, NULL, copy_to_missing, sleeper), 0);
	CHECK(missing_wait(&sleeper->missing) == sleeper->page);
}

/* It has come too late. */
static void end_slow_copy(struct sleeper *sleeper, int error)
{
	missing_bring(&sleeper->missing, sleeper->page);
	CHECK_EQ(pthread_join(sleeper->thread, NULL), 0);
	CHECK_EQ(sleeper->copied, -1);
	CHECK_EQ(sleeper->error, error);
	for (int i = 0; i < PAGE_BYTES; i++)
		CHECK_EQ(sleeper->page[i], 0);
	close(sleeper->missing.fd);
}

static void a_copy_goes_on_when_its_memory_is_there(void)
{
	uint8_t *data = map_pages(KEPT_BYTES), *wanted = aligned(KEPT_BYTES);
	struct missing missing;
	struct server server;
	int pid;

	run_copy_server(&server);
	missing_init(&missing);
	missing_take(&missing, data + 7 * PAGE_BYTES, PAGE_BYTES);
	missing_bring_all(&missing);
	pid = spawn_client(write_kept);
	fill_kept(wanted, KEPT_BYTES);
	CHECK_EQ(pread(server.cdev, data, KEPT_BYTES, kept_data()), KEPT_BYTES);
	CHECK(!memcmp(data, wanted, KEPT_BYTES));
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);

	missing_take(&missing, data + 5 * PAGE_BYTES, PAGE_BYTES);
	missing.contents = wanted + 5 * PAGE_BYTES;
	pid = spawn_client(read_kept);
	CHECK_EQ(pwrite(server.cdev, data, KEPT_BYTES, kept_data()), KEPT_BYTES);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	server_delete(&server);
}

static void a_commit_does_not_wait_for_a_copy(void)
{
	struct sleeper sleeper;
	struct server server;
	int pid;

	run_copy_server(&server);
	pid = spawn_client(write_kept);
	start_slow_copy(&sleeper, server.cdev);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pid, 0);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), -EINVAL);
	end_slow_copy(&sleeper, EINVAL);
	server_delete(&server);
}

/* There is one tag only, which the test fetches again by hand. */
static void a_copy_does_not_get_at_the_next_request(void)
{
	struct io_uring_cqe *cqe;
	struct sleeper sleeper;
	struct io_uring ring;
	struct server server;
	int pids[2];

	share();
	init_kept_server(&server, UBD_F_USER_COPY);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = 1;
	run_kept_server(&server);
	pids[0] = spawn_client(write_kept);
	start_slow_copy(&sleeper, server.cdev);
	CHECK_EQ(io_uring_queue_init(4, &ring, 0), 0);
	prep_io(io_uring_get_sqe(&ring), server.cdev, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, KEPT_BYTES,
		NULL);
	CHECK_EQ(io_uring_submit(&ring), 1);
	check_exit(pids[0], 0);
	pids[1] = spawn(write_kept, NULL);
	CHECK_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
	CHECK_EQ(cqe->res, UBD_IO_RES_OK);
	end_slow_copy(&sleeper, EINVAL);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), 0);
	check_exit(pids[1], 0);
	io_uring_queue_exit(&ring);
	server_delete(&server);
}

static void an_abort_does_not_wait_for_a_copy(void)
{
	struct sleeper sleeper;
	struct server server;
	int pid;

	run_copy_server(&server);
	pid = spawn_client(fail_to_write_kept);
	start_slow_copy(&sleeper, server.cdev);
	close(server.control);
	check_exit(pid, 0);
	CHECK_EQ(commit_kept(&server, KEPT_BYTES), UBD_IO_RES_ABORT);
	end_slow_copy(&sleeper, ENODEV);
	for (int i = 0; i < server.info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
	close(server.cdev);
}

/* ---- the server is killed in the middle of a copy ---- */

static void sleep_in_copy(struct server *server)
{
	struct sleeper sleeper;

	WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
	start_slow_copy(&sleeper, server->cdev);
	set(&shared->left, true);
	pause();
}

static void serve_and_sleep(void *arg)
{
	struct server server;

	init_kept_server(&server, *(uint64_t *)arg);
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	sleep_in_copy(&server);
}

static int spawn_sleeper(uint64_t flags)
{
	share();
	return wait_for_server(spawn(serve_and_sleep, &flags));
}

static void a_server_killed_during_a_copy_fails_the_request(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	check_exit(client, 0);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* The server dies, and the next one gets what @client writes. */
static void check_next_gets_write(int server, int client)
{
	uint8_t *wanted = aligned(KEPT_BYTES);

	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	CHECK(is_running(client));
	set(&shared->keeps, false);
	server = spawn_next();
	check_exit(client, 0);
	fill_kept(wanted, KEPT_BYTES);
	CHECK(!memcmp(shared->disk + KEPT_SECTOR * 512, wanted, KEPT_BYTES));
	kill_server(server);
	delete_device();
}

static void a_request_is_reissued_in_spite_of_a_copy(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY | REISSUE);

	check_next_gets_write(server, spawn_client(write_kept));
}

/* It need not be killed for its request to end. */
static void a_server_that_sleeps_in_a_copy_is_timed_out(void)
{
	int server = spawn_sleeper(UBD_F_USER_COPY), client = spawn_client(fail_to_write_kept);

	WAIT_UNTIL(get(&shared->left), AGE);
	set_param("request_timeout", "1");
	check_exit(client, 0);
	set_param("request_timeout", "0");
	CHECK(is_running(server));
	kill_server(server);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* Threads that hurry move the data of requests, while others commit and the end comes. */
struct race {
	struct server *server;
	bool ends;
};

static void *copy_anything(void *arg)
{
	struct race *race = arg;
	uint8_t *data = aligned(KEPT_BYTES);
	unsigned int seed = gettid();

	while (!__atomic_load_n(&race->ends, __ATOMIC_SEQ_CST)) {
		off_t off = ubd_data_offset(rand_r(&seed) % 2, rand_r(&seed) % 8);

		/* What a read gets is what the server's own thread puts there last, or this. */
		if (rand_r(&seed) % 2)
			(void)!pread(race->server->cdev, data, 4096, off);
		else
			(void)!pwrite(race->server->cdev, data, 512, off);
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

		run_copy_server(&server);
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

/* ---- copies by the driver ---- */

/* Page 3 of each tag's buffer, which only requests of more than 12 KiB need, or all. */
static void take_buffers(struct server *server, struct missing *missing, bool all)
{
	missing_init(missing);
	for (int i = 0; i < server->info.nr_hw_queues; i++)
		for (int tag = 0; tag < server->info.queue_depth; tag++) {
			uint8_t *buffer = server_buffer(&server->queues[i], tag);

			missing_take(missing, all ? buffer : buffer + 3 * PAGE_BYTES,
				     all ? KEPT_BYTES : PAGE_BYTES);
		}
}

static void write_pattern(struct server *server, int disk, size_t size)
{
	uint8_t *data = aligned(size);

	fill_kept(data, size);
	CHECK_EQ(pwrite(disk, data, size, 0), size);
	CHECK(!memcmp(server->memory, data, size));
}

/* Short ones are copied in another way than long ones. */
static void a_write_goes_on_when_memory_is_there(void)
{
	struct missing missing;
	struct server server;
	int disk;

	for (int all = 0; all < 2; all++) {
		server_init(&server);
		server_run(&server);
		disk = open_disk(server.info.dev_id, O_RDWR);
		take_buffers(&server, &missing, all);
		missing_bring_all(&missing);
		write_pattern(&server, disk, 4096);
		write_pattern(&server, disk, 16384);
		write_pattern(&server, disk, KEPT_BYTES);
		close(disk);
		server_delete(&server);
	}
}

/* What is in the buffer of a READ is where it was before the page is taken. */
static int answer_without_page(struct server *server, const struct ubdsrv_io_desc *desc,
			       uint8_t *buffer)
{
	struct missing *missing = server->data;
	int res = server_handle(server, desc, buffer);

	if (get(&shared->keeps) && ubd_desc_op(desc) == UBD_IO_OP_READ)
		missing_take(missing, buffer + res - PAGE_BYTES, PAGE_BYTES);
	return res;
}

static void check_read_without_page(int disk, size_t size)
{
	uint8_t *data = aligned(size);

	CHECK_EQ(pread(disk, data, size, 0), size);
	for (size_t i = 0; i < size; i++)
		CHECK_EQ(data[i], 0x5a);
}

static void a_read_goes_on_when_memory_is_there(void)
{
	uint8_t contents[PAGE_BYTES];
	struct missing missing;
	struct server server;
	int disk;

	share();
	set(&shared->keeps, false);
	server_init(&server);
	server.handle = answer_without_page;
	server.data = &missing;
	missing_init(&missing);
	memset(contents, 0x5a, sizeof(contents));
	missing.contents = contents;
	missing_bring_all(&missing);
	server_run(&server);
	memset(server.memory, 0x5a, KEPT_BYTES);
	disk = open_disk(server.info.dev_id, O_RDWR);
	set(&shared->keeps, true);
	check_read_without_page(disk, 4096);
	check_read_without_page(disk, 16384);
	check_read_without_page(disk, KEPT_BYTES);
	close(disk);
	server_delete(&server);
}

static void join_queues(struct server *server)
{
	for (int i = 0; i < server->info.nr_hw_queues; i++)
		CHECK_EQ(pthread_join(server->queues[i].thread, NULL), 0);
}

static void an_abort_does_not_wait_for_a_write(void)
{
	struct missing missing;
	struct server server;
	uint8_t *page;
	int pid;

	share();
	init_kept_server(&server, 0);
	run_kept_server(&server);
	take_buffers(&server, &missing, false);
	pid = spawn(fail_to_write_kept, NULL);
	page = missing_wait(&missing);
	close(server.control);
	check_exit(pid, 0);
	missing_bring(&missing, page);
	join_queues(&server);
	close(server.cdev);
}

/* A thread that commits the kept request, a READ, and sleeps as the driver copies. */
struct committer {
	struct server *server;
	struct missing missing;
	uint8_t *page;
	pthread_t thread;
	int res;
};

static void *commit_slowly(void *arg)
{
	struct committer *committer = arg;

	committer->res = commit_kept(committer->server, KEPT_BYTES);
	return NULL;
}

static void fail_to_read_kept(void *arg)
{
	int disk = open_disk(get(&shared->id), O_RDWR);

	close(get(&shared->control));
	CHECK(pread(disk, aligned(KEPT_BYTES), KEPT_BYTES, KEPT_SECTOR * 512) < 0);
	CHECK_EQ(errno, EIO);
}

/* Returns the client. */
static int start_slow_commit(struct committer *committer, struct server *server)
{
	int pid;

	share();
	init_kept_server(server, 0);
	run_kept_server(server);
	pid = spawn_client(fail_to_read_kept);
	committer->server = server;
	take_buffers(server, &committer->missing, false);
	CHECK_EQ(pthread_create(&committer->thread, NULL, commit_slowly, committer), 0);
	committer->page = missing_wait(&committer->missing);
	return pid;
}

static void end_slow_commit(struct committer *committer, int res)
{
	missing_bring(&committer->missing, committer->page);
	CHECK_EQ(pthread_join(committer->thread, NULL), 0);
	CHECK_EQ(committer->res, res);
}

static void an_abort_does_not_wait_for_a_read(void)
{
	struct committer committer;
	struct server server;
	int pid = start_slow_commit(&committer, &server);

	close(server.control);
	check_exit(pid, 0);
	end_slow_commit(&committer, UBD_IO_RES_ABORT);
	join_queues(&server);
	close(server.cdev);
}

static void another_commit_does_not_wait_for_a_read(void)
{
	struct committer committer;
	struct server server;
	int pid = start_slow_commit(&committer, &server);

	CHECK_EQ(commit_kept(&server, -EIO), 0);
	check_exit(pid, 0);
	end_slow_commit(&committer, -EINVAL);
	server_delete(&server);
}

static void serve_without_memory(void *arg)
{
	struct missing missing;
	struct server server;

	init_server(&server);
	server.info.flags = REISSUE;
	server_run(&server);
	take_buffers(&server, &missing, false);
	set(&shared->id, server.info.dev_id);
	missing_wait(&missing);
	set(&shared->left, true);
	pause();
}

static void the_next_server_gets_a_write_that_was_not_copied(void)
{
	int server;

	share();
	server = wait_for_server(spawn(serve_without_memory, NULL));
	check_next_gets_write(server, spawn(write_kept, NULL));
}

/* ---- memory that is a file of a file system that does not answer ---- */

#define FUSE_FILE_BYTES (4 << 20)

static void answer_fuse(int fuse, const struct fuse_in_header *in, const void *data, size_t size)
{
	struct fuse_out_header out = { .len = sizeof(out) + size, .unique = in->unique };
	uint8_t message[256];

	memcpy(message, &out, sizeof(out));
	memcpy(message + sizeof(out), data, size);
	CHECK_EQ(write(fuse, message, out.len), out.len);
}

/* Its root is the only file, of which nobody reads anything. */
static void serve_fuse(int fuse)
{
	static uint8_t request[FUSE_MIN_READ_BUFFER + (1 << 20)];
	const struct fuse_in_header *in = (const void *)request;
	const struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096,
	};
	const struct fuse_attr_out attr = {
		.attr_valid = 3600,
		.attr = { .ino = FUSE_ROOT_ID,
			  .mode = S_IFREG | 0600,
			  .nlink = 1,
			  .size = FUSE_FILE_BYTES,
			  .blksize = 4096 },
	};
	const struct fuse_open_out opened = {};

	while (read(fuse, request, sizeof(request)) > 0) {
		if (in->opcode == FUSE_INIT)
			answer_fuse(fuse, in, &init, sizeof(init));
		else if (in->opcode == FUSE_GETATTR)
			answer_fuse(fuse, in, &attr, sizeof(attr));
		else if (in->opcode == FUSE_OPEN)
			answer_fuse(fuse, in, &opened, sizeof(opened));
		else if (in->opcode == FUSE_READ)
			set(&shared->left, true);
	}
}

static void mount_fuse(void *arg)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[80];

	CHECK(fuse >= 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", fuse);
	close(open("/tmp/fuse", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	CHECK_EQ(mount("test", "/tmp/fuse", "fuse", 0, options), 0);
	set(&shared->step, 1);
	serve_fuse(fuse);
}

/* Itself it keeps its hands off that memory. */
static int fail_reads(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	return ubd_desc_op(desc) == UBD_IO_OP_READ ? -EIO : server_handle(server, desc, buffer);
}

static void serve_in_fuse(void *arg)
{
	int file = open("/tmp/fuse", O_RDWR | O_CLOEXEC);
	struct server server;
	struct stat status;
	uint8_t *pages;

	CHECK(file >= 0);
	/* Before that the kernel does not know how large it is. */
	CHECK_EQ(fstat(file, &status), 0);
	CHECK_EQ(status.st_size, FUSE_FILE_BYTES);
	pages = mmap(NULL, FUSE_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(pages != MAP_FAILED);
	init_server(&server);
	server.handle = fail_reads;
	server_add(&server);
	server_open(&server);
	for (int i = 0; i < server.info.nr_hw_queues; i++)
		server.queues[i].buffers = pages + i * (FUSE_FILE_BYTES / 2);
	server_serve(&server);
	server_start(&server);
	serve_for_ever(&server);
}

/* The server cannot even be killed, and yet its disk goes, and nobody waits for it. */
static void a_server_in_the_memory_of_a_dead_file_system(void)
{
	int fuse, server, client;

	share();
	fuse = spawn(mount_fuse, NULL);
	WAIT_UNTIL(get(&shared->step), AGE);
	server = wait_for_server(spawn(serve_in_fuse, NULL));
	client = spawn(fail_to_write_kept, NULL);
	WAIT_UNTIL(get(&shared->left), AGE);
	CHECK_EQ(kill(server, SIGKILL), 0);
	check_exit(client, 0);
	WAIT_UNTIL(!exists(block_node(get(&shared->id))), AGE);
	sync();
	CHECK(is_running(server));
	kill_server(fuse);
	check_exit(server, SIGKILL);
	check_gone(get(&shared->id));
	CHECK_EQ(umount("/tmp/fuse"), 0);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a copy goes on when its memory is there",
		  a_copy_goes_on_when_its_memory_is_there },
		{ "a COMMIT does not wait for a copy", a_commit_does_not_wait_for_a_copy },
		{ "a copy does not get at the next request",
		  a_copy_does_not_get_at_the_next_request },
		{ "an abort does not wait for a copy", an_abort_does_not_wait_for_a_copy },
		{ "a server killed during a copy fails the request",
		  a_server_killed_during_a_copy_fails_the_request },
		{ "a request is reissued in spite of a copy",
		  a_request_is_reissued_in_spite_of_a_copy },
		{ "a server that sleeps in a copy is timed out",
		  a_server_that_sleeps_in_a_copy_is_timed_out },
		{ "copies race with commits and the end", copies_race_with_commits_and_the_end },
		{ "a WRITE goes on when memory is there", a_write_goes_on_when_memory_is_there },
		{ "a READ goes on when memory is there", a_read_goes_on_when_memory_is_there },
		{ "an abort does not wait for a WRITE", an_abort_does_not_wait_for_a_write },
		{ "an abort does not wait for a READ", an_abort_does_not_wait_for_a_read },
		{ "another COMMIT does not wait for a READ",
		  another_commit_does_not_wait_for_a_read },
		{ "the next server gets a WRITE that was not copied",
		  the_next_server_gets_a_write_that_was_not_copied },
		{ "a server in the memory of a dead file system",
		  a_server_in_the_memory_of_a_dead_file_system },
	};

	return RUN_TESTS(tests, argc, argv);
}
