// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk that ends while it is used, in any way a disk can be used: users get errors, nothing waits
 * forever, and nothing is left.
 */
#include "actors.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/wait.h>

/* ---- ends ---- */

static void end_by_command(uint32_t op)
{
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	CHECK_EQ(control(fd, op, NULL, 0), 0);
	close(fd);
}

/* A server that answers all, and a table with one partition, of 4096 sectors from 2048 on. */
static int spawn_usual(void)
{
	static const uint8_t entry[16] = { 0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0 };
	int pid;

	share();
	memset(shared->disk, 0, 4096);
	memcpy(shared->disk + 446, entry, sizeof(entry));
	shared->disk[510] = 0x55;
	shared->disk[511] = 0xaa;
	pid = spawn_server(0);
	set(&shared->keeps, false);
	return pid;
}

/* Ends it in one of three ways; its server is gone afterwards, and so are both nodes. */
static void end_somehow(int server, int how)
{
	if (how % 3 < 2)
		end_by_command(how % 3 ? UBD_CMD_DEL_DEV : UBD_CMD_STOP_DEV);
	kill_server(server);
	check_gone(shared->id);
}

/* ---- data ---- */

static void write_buffered(void *arg)
{
	static char data[65536];
	int disk = open(block_node(get(&shared->id)), O_RDWR | O_CLOEXEC);

	for (unsigned int i = getpid(); disk >= 0; i++) {
		if (pwrite(disk, data, sizeof(data), (i * 7919 % 64) * 65536) != sizeof(data))
			break;
		if (i % 4 == 0 && fsync(disk) < 0)
			break;
	}
}

static void a_disk_ends_under_readers_and_writers(void)
{
	for (int round = 0; round < 6; round++) {
		int server = spawn_usual(), users[4];

		for (int i = 0; i < 4; i++)
			users[i] = spawn(i % 2 ? hammer : write_buffered, NULL);
		usleep(50000 + round * 10000);
		end_somehow(server, round);
		for (int i = 0; i < 4; i++)
			check_exit(users[i], 0);
	}
}

/* ---- opens, ioctls and partitions ---- */

static int open_whole(int flags)
{
	return open(block_node(get(&shared->id)), flags | O_CLOEXEC);
}

static int open_partition(int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "%sp1", block_node(get(&shared->id)));
	return open(path, flags | O_CLOEXEC);
}

/* It has read at most one byte, so most of the time goes to opens. */
static void open_and_close(void *arg)
{
	char byte;

	for (unsigned int i = getpid(); !get(&shared->release); i++) {
		int disk = open_whole(i % 3 ? O_RDONLY : i % 2 ? O_RDWR | O_EXCL : O_RDWR);

		if (disk < 0)
			continue;
		(void)!pread(disk, &byte, 1, i % 4096 * 4096);
		close(disk);
	}
}

static void scan_again(void *arg)
{
	struct blkpg_partition partition = { .start = 8 << 20, .length = 1 << 20, .pno = 5 };
	struct blkpg_ioctl_arg pg = { .datalen = sizeof(partition), .data = &partition };
	uint64_t bytes;
	char byte;

	while (!get(&shared->release)) {
		int disk = open_whole(O_RDWR), part = open_partition(O_RDWR);

		ioctl(disk, BLKRRPART);
		pg.op = BLKPG_ADD_PARTITION;
		ioctl(disk, BLKPG, &pg);
		ioctl(part, BLKGETSIZE64, &bytes);
		(void)!pread(part, &byte, 1, 4096);
		pg.op = BLKPG_DEL_PARTITION;
		ioctl(disk, BLKPG, &pg);
		close(part);
		close(disk);
	}
}

static void flush_and_discard(void *arg)
{
	char data[4096] = {};

	for (unsigned int i = getpid(); !get(&shared->release); i++) {
		uint64_t range[2] = { i % 100 * 4096, 1 << 20 };
		int disk = open_whole(O_RDWR);

		(void)!pwrite(disk, data, sizeof(data), range[0]);
		ioctl(disk, BLKDISCARD, range);
		(void)!pwrite(disk, data, sizeof(data), range[0]);
		ioctl(disk, BLKFLSBUF);
		ioctl(disk, BLKZEROOUT, range);
		ioctl(disk, BLKGETSIZE64, &range[0]);
		close(disk);
	}
}

/* Three of them, in six lives that end in all ways. */
static void end_under(void (*use)(void *arg))
{
	for (int round = 0; round < 6; round++) {
		int server = spawn_usual(), users[3];

		for (int i = 0; i < 3; i++)
			users[i] = spawn(use, NULL);
		usleep(30000 + round * 20000);
		end_somehow(server, round);
		set(&shared->release, true);
		for (int i = 0; i < 3; i++)
			check_exit(users[i], 0);
	}
}

static void a_disk_ends_while_it_is_opened_and_closed(void)
{
	end_under(open_and_close);
}

static void a_disk_ends_while_its_partitions_are_read_again(void)
{
	end_under(scan_again);
}

static void a_disk_ends_while_it_is_flushed_and_discarded(void)
{
	end_under(flush_and_discard);
}

/* The partition goes first, while it is open. */
static void a_partition_in_use_ends_with_its_disk(void)
{
	int server = spawn_usual(), part = open_partition(O_RDWR);
	char data[4096] = {};
	uint64_t bytes;

	CHECK(part >= 0);
	CHECK_EQ(pwrite(part, data, 4096, 0), 4096);
	end_by_command(UBD_CMD_STOP_DEV);
	/* Not what was written: that may have stayed in the page cache. */
	CHECK(pread(part, data, 4096, 1 << 20) <= 0);
	CHECK(ioctl(part, BLKFLSBUF) <= 0);
	ioctl(part, BLKGETSIZE64, &bytes);
	ioctl(part, BLKRRPART);
	kill_server(server);
	check_gone(shared->id);
	close(part);
}

static void an_exclusive_opener_keeps_others_out_but_not_the_end(void)
{
	int server = spawn_usual(), disk = open_whole(O_RDWR | O_EXCL);

	CHECK(disk >= 0);
	CHECK(open_whole(O_RDWR | O_EXCL) < 0);
	CHECK_EQ(errno, EBUSY);
	CHECK(mount(block_node(shared->id), "/mnt", "ext4", 0, NULL) < 0);
	CHECK_EQ(errno, EBUSY);
	end_by_command(UBD_CMD_DEL_DEV);
	CHECK(!exists(block_node(shared->id)));
	close(disk);
	kill_server(server);
}

/* ---- mounted ---- */

static void write_files(void *arg)
{
	static char data[65536];
	char path[32];
	int file;

	snprintf(path, sizeof(path), "/mnt/%d", getpid());
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (unsigned int i = 0; file >= 0; i++) {
		if (pwrite(file, data, sizeof(data), (i % 16) * 65536) != sizeof(data))
			break;
		if (i % 4 == 0 && fsync(file) < 0)
			break;
	}
}

static void a_mounted_disk_ends_under_writers(void)
{
	for (int round = 0; round < 3; round++) {
		int server = spawn_usual(), users[3];

		make_file_system(shared->id);
		mount_disk(shared->id);
		for (int i = 0; i < 3; i++)
			users[i] = spawn(write_files, NULL);
		usleep(100000);
		end_somehow(server, round);
		for (int i = 0; i < 3; i++)
			check_exit(users[i], 0);
		CHECK_EQ(umount("/mnt"), 0);
	}
}

/* The server is at work meanwhile. */
static void stop_writes_back_what_a_file_system_has(void)
{
	int server = spawn_usual(), file;
	char data[65536], found[65536];

	memset(data, 0x5a, sizeof(data));
	make_file_system(shared->id);
	mount_disk(shared->id);
	file = open("/mnt/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(write(file, data, sizeof(data)), sizeof(data));
	close(file);
	end_by_command(UBD_CMD_STOP_DEV);
	CHECK_EQ(umount("/mnt"), 0);
	kill_server(server);

	server = spawn_server(0);
	set(&shared->keeps, false);
	mount_disk(shared->id);
	file = open("/mnt/file", O_RDONLY | O_CLOEXEC);
	CHECK_EQ(read(file, found, sizeof(found)), sizeof(found));
	CHECK(!memcmp(found, data, sizeof(data)));
	close(file);
	CHECK_EQ(umount("/mnt"), 0);
	end_somehow(server, 0);
}

/* ---- others on top ---- */

/* Through the node, since newer kernels still know for a moment what they read at the start. */
static void make_swap(size_t bytes)
{
	uint32_t version_and_last_page[2] = { 1, bytes / 4096 - 1 };
	char *header = aligned(4096);
	int disk = open_whole(O_WRONLY);

	memset(header, 0, 4096);
	memcpy(header + 1024, version_and_last_page, sizeof(version_and_last_page));
	memcpy(header + 4086, "SWAPSPACE2", 10);
	CHECK_EQ(pwrite(disk, header, 4096, 0), 4096);
	close(disk);
}

/* (On a disk that has gone it is there for good: whom swapoff() is about, it finds by a path.) */
static void swap_can_be_taken_off_without_a_server(void)
{
	int server = spawn_server(UBD_F_USER_RECOVERY);
	char path[32];

	strcpy(path, block_node(shared->id));
	make_swap(16 << 20);
	CHECK_EQ(swapon(path, 0), 0);
	CHECK_EQ(swapoff(path), 0);
	CHECK_EQ(swapon(path, 0), 0);
	kill_server(server);
	close(open_waiting());
	CHECK_EQ(swapoff(path), 0);
	delete_device();
}

static void a_loop_device_survives_the_disk_below_it(void)
{
	int server = spawn_usual(), control_node = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { .info.lo_flags = LO_FLAGS_DIRECT_IO };
	int nr = ioctl(control_node, LOOP_CTL_GET_FREE), loop;
	void *data = aligned(4096);
	char path[32];

	CHECK(nr >= 0);
	snprintf(path, sizeof(path), "/dev/loop%d", nr);
	loop = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	config.fd = open_whole(O_RDWR);
	CHECK_EQ(ioctl(loop, LOOP_CONFIGURE, &config), 0);
	close(config.fd);
	memset(data, 0x33, 4096);
	CHECK_EQ(pwrite(loop, data, 4096, 1 << 20), 4096);
	CHECK_EQ(shared->disk[1 << 20], 0x33);
	kill_server(server);
	check_gone(shared->id);
	CHECK(pread(loop, data, 4096, 1 << 20) < 0);
	CHECK_EQ(errno, EIO);
	CHECK_EQ(ioctl(loop, LOOP_CLR_FD), 0);
	close(loop);
	close(control_node);
}

/* ---- while it starts ---- */

/* Partitions are looked for; the server never answers. */
static void start_unanswered(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = keep_all;
	server_add(&server);
	server_open(&server);
	server_serve(&server);
	set(&shared->id, server.info.dev_id);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
}

static void a_start_that_gets_no_answer_can_be_ended(void)
{
	const uint32_t ops[] = { UBD_CMD_STOP_DEV, UBD_CMD_DEL_DEV };

	for (int i = 0; i < 2; i++) {
		int server;

		share();
		server = spawn(start_unanswered, NULL);
		WAIT_UNTIL(get(&shared->nr_kept) > 0, AGE);
		end_by_command(ops[i]);
		check_exit(server, 0);
		check_gone(shared->id);
	}
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a disk ends under readers and writers", a_disk_ends_under_readers_and_writers },
		{ "a disk ends while it is opened and closed",
		  a_disk_ends_while_it_is_opened_and_closed },
		{ "a disk ends while its partitions are read again",
		  a_disk_ends_while_its_partitions_are_read_again },
		{ "a disk ends while it is flushed and discarded",
		  a_disk_ends_while_it_is_flushed_and_discarded },
		{ "a partition in use ends with its disk", a_partition_in_use_ends_with_its_disk },
		{ "an exclusive opener keeps others out, but not the end",
		  an_exclusive_opener_keeps_others_out_but_not_the_end },
		{ "a mounted disk ends under writers", a_mounted_disk_ends_under_writers },
		{ "STOP_DEV writes back what a file system has",
		  stop_writes_back_what_a_file_system_has },
		{ "swap can be taken off without a server",
		  swap_can_be_taken_off_without_a_server },
		{ "a loop device survives the disk below it",
		  a_loop_device_survives_the_disk_below_it },
		{ "a start that gets no answer can be ended",
		  a_start_that_gets_no_answer_can_be_ended },
	};

	return RUN_TESTS(tests, argc, argv);
}
