// SPDX-License-Identifier: GPL-2.0-or-later
/* See actors.h. */
#include "actors.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

struct shared *shared;

static void *share_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

void share(void)
{
	if (!shared) {
		shared = share_memory(4096);
		shared->disk = share_memory(usual_params().dev_sectors * 512);
	}
	*shared = (struct shared){
		.id = -1, .keeps = true, .control = -1, .ring = -1, .disk = shared->disk
	};
}

/* ---- servers ---- */

int keep_all(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	__atomic_add_fetch(&shared->nr_kept, 1, __ATOMIC_SEQ_CST);
	return SERVER_KEEP;
}

int keep_if_told(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (desc->start_sector < KEPT_SECTOR || !get(&shared->keeps))
		return server_handle(server, desc, buffer);
	return keep_all(server, desc, buffer);
}

void init_server(struct server *server)
{
	server_init(server);
	server->handle = keep_if_told;
	server->memory = shared->disk;
}

void serve_for_ever(struct server *server)
{
	set(&shared->id, server->info.dev_id);
	for (;;)
		pause();
}

static void serve_first(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = *(uint64_t *)arg;
	server_run(&server);
	serve_for_ever(&server);
}

static void serve_next(void *arg)
{
	struct server server;

	init_server(&server);
	server_recover(&server, *(int *)arg);
	serve_for_ever(&server);
}

int wait_for_server(int pid)
{
	WAIT_UNTIL(get(&shared->id) >= 0, AGE);
	return pid;
}

int spawn_server(uint64_t flags)
{
	share();
	return wait_for_server(spawn(serve_first, &flags));
}

int spawn_next(void)
{
	int id = get(&shared->id);

	set(&shared->id, -1);
	return wait_for_server(spawn(serve_next, &id));
}

void kill_server(int pid)
{
	CHECK_EQ(kill(pid, SIGKILL), 0);
	check_exit(pid, SIGKILL);
}

int open_waiting(void)
{
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_QUIESCED, AGE);
	return fd;
}

static void delete_from_outside(void *arg)
{
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_DEL_DEV, NULL, 0), 0);
}

/* In a process of its own: all workers that io_uring gives this one may wait for the disk. */
void delete_device(void)
{
	check_exit(spawn(delete_from_outside, NULL), 0);
	CHECK(!exists(char_node(shared->id)));
	CHECK(!exists(block_node(shared->id)));
}

void stop_from_outside(void *arg)
{
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(get_state(fd), UBD_S_DEV_STOPPED);
}

int spawn_waiting_stop(int *ret_disk)
{
	int disk = open(block_node(get(&shared->id)), O_WRONLY), stopper;
	char data[4096] = {};

	CHECK_EQ(pwrite(disk, data, 4096, KEPT_SECTOR * 512), 4096);
	stopper = spawn(stop_from_outside, NULL);
	WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
	*ret_disk = disk;
	return stopper;
}

void check_gone(uint32_t id)
{
	WAIT_UNTIL(!exists(block_node(id)), SOON);
	WAIT_UNTIL(!exists(char_node(id)), SOON);
}

bool is_waiting(int pid)
{
	char pattern[64];
	bool waits = false;
	glob_t stats;

	snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/stat", pid);
	if (glob(pattern, 0, NULL, &stats))
		return false;
	for (size_t i = 0; i < stats.gl_pathc; i++) {
		FILE *file = fopen(stats.gl_pathv[i], "re");
		char state = 0;

		if (!file)
			continue;
		waits |= fscanf(file, "%*d (iou-wrk%*[^)]) %c", &state) == 1 && state == 'D';
		fclose(file);
	}
	globfree(&stats);
	return waits;
}

void kill_waiting(void (*run)(void *), void *arg)
{
	int pid = spawn(run, arg);

	WAIT_UNTIL(is_waiting(pid), AGE);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	kill_server(pid);
}

/* ---- users ---- */

void client_submit(struct client *client, int nr, uint64_t sector)
{
	client->disk = open_disk(get(&shared->id), O_RDWR);
	client->nr = nr;
	CHECK_EQ(io_uring_queue_init(nr, &client->ring, 0), 0);
	for (int i = 0; i < nr; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&client->ring);
		uint64_t off = (sector + i * 8) * 512;

		client->data[i] = aligned(4096);
		memset(client->data[i], i, 4096);
		if (i % 2)
			io_uring_prep_read(sqe, client->disk, client->data[i], 4096, off);
		else
			io_uring_prep_write(sqe, client->disk, client->data[i], 4096, off);
	}
	CHECK_EQ(io_uring_submit(&client->ring), nr);
}

int client_wait(struct client *client)
{
	struct __kernel_timespec limit = { .tv_sec = AGE };
	struct io_uring_cqe *cqe;
	int failed = 0;

	for (int i = 0; i < client->nr; i++) {
		CHECK_EQ(io_uring_wait_cqe_timeout(&client->ring, &cqe, &limit), 0);
		/* EIO; but what comes after the disk has gone finds its end, at 0. */
		CHECK(cqe->res == 4096 || cqe->res == -EIO || cqe->res == -ENOSPC || cqe->res == 0);
		failed += cqe->res != 4096;
		io_uring_cqe_seen(&client->ring, cqe);
	}
	io_uring_queue_exit(&client->ring);
	close(client->disk);
	return failed;
}

void check_write_and_read(const struct server *server, int disk)
{
	const size_t sizes[] = { 512, 4096, 4608, 65536, 131072, 1 << 20 };
	uint8_t *out = aligned(1 << 20), *in = aligned(1 << 20);

	for (size_t i = 0; i < 6; i++) {
		off_t off = 512 * (1 + 7 * i);

		for (size_t j = 0; j < sizes[i]; j++)
			out[j] = j * 13 + j / 253 + i;
		CHECK_EQ(pwrite(disk, out, sizes[i], off), sizes[i]);
		CHECK(!memcmp(server->memory + off, out, sizes[i]));
		memset(in, 0, sizes[i]);
		CHECK_EQ(pread(disk, in, sizes[i], off), sizes[i]);
		CHECK(!memcmp(in, out, sizes[i]));
	}
	free(out);
	free(in);
}

void check_written(const struct client *client, uint64_t sector)
{
	for (int i = 0; i < client->nr; i += 2)
		CHECK(!memcmp(shared->disk + (sector + i * 8) * 512, client->data[i], 4096));
}

void hammer(void *arg)
{
	uint8_t *data = aligned(16384);
	int disk = open(block_node(get(&shared->id)), O_RDWR | O_DIRECT);

	for (unsigned int i = getpid(); disk >= 0; i++) {
		off_t off = (i * 7919 % 256) * 16384;
		ssize_t res =
			i % 3 ? pread(disk, data, 16384, off) : pwrite(disk, data, 16384, off);

		if (res != 16384)
			break;
	}
}

void write_and_verify(void *arg)
{
	uint32_t *data = aligned(4096), written[64] = {};
	int first = *(int *)arg, id, disk;

	/* On a busy machine servers may be following each other by now. */
	WAIT_UNTIL((id = get(&shared->id)) >= 0, AGE);
	disk = open_disk(id, O_RDWR);
	for (uint32_t i = 0; !get(&shared->release); i++) {
		uint32_t block = i * 37 % 64;
		off_t off = (off_t)(first + block) * 4096;

		CHECK_EQ(pread(disk, data, 4096, off), 4096);
		CHECK_EQ(data[0], written[block]);
		CHECK_EQ(data[1023], written[block]);
		for (int j = 0; j < 1024; j++)
			data[j] = i + 1;
		CHECK_EQ(pwrite(disk, data, 4096, off), 4096);
		written[block] = i + 1;
	}
}

static void execute_mkfs(void *arg)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 1);
	dup2(null, 2);
	execlp("mkfs.ext4", "mkfs.ext4", "-q", block_node(*(uint32_t *)arg), NULL);
	_exit(1);
}

void make_file_system(uint32_t id)
{
	check_exit(spawn(execute_mkfs, &id), 0);
}

void mount_disk(uint32_t id)
{
	CHECK_EQ(mount(block_node(id), "/mnt", "ext4", 0, NULL), 0);
}
