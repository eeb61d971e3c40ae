// SPDX-License-Identifier: GPL-2.0-or-later
/* The life of a device, from ADD_DEV to DEL_DEV and the end of its control fds. */
#include "lib.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void a_device_lives_and_a_sector_is_read(void)
{
	struct server server;
	uint8_t *sector = aligned(512);
	int disk;

	server_init(&server);
	server_add(&server);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_ADDED);
	CHECK(exists(char_node(server.info.dev_id)));
	CHECK(!exists(block_node(server.info.dev_id)));
	strcpy((char *)server.memory + 3 * 512, "third sector");
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);

	disk = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(pread(disk, sector, 512, 3 * 512), 512);
	CHECK(!strcmp((char *)sector, "third sector"));
	close(disk);

	server_delete(&server);
	CHECK(!exists(char_node(server.info.dev_id)));
	CHECK(!exists(block_node(server.info.dev_id)));
}

static void a_device_never_started_is_deleted(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	server_serve(&server);
	server_delete(&server);
}

static void stop_removes_the_disk_and_ends_the_fetches(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_STOPPED);
	CHECK(!exists(block_node(server.info.dev_id)));
	CHECK(exists(char_node(server.info.dev_id)));
	server_delete(&server);
}

/* The page cache holds what was written; it must reach the server before the server is let go. */
static void stop_writes_back_what_is_cached(void)
{
	struct server server;
	uint8_t data[65536];
	int disk;

	memset(data, 0x5a, sizeof(data));
	server_init(&server);
	server_run(&server);
	disk = open(block_node(server.info.dev_id), O_WRONLY);
	CHECK(disk >= 0);
	CHECK_EQ(pwrite(disk, data, sizeof(data), 1 << 20), sizeof(data));
	CHECK_EQ(server.memory[1 << 20], 0);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK(!memcmp(server.memory + (1 << 20), data, sizeof(data)));
	CHECK(pread(disk, data, 4096, 0) <= 0);
	close(disk);
	server_delete(&server);
}

static void many_devices_live_at_once(void)
{
	static struct server servers[64];
	uint8_t *out = aligned(4096), *in = aligned(4096);
	int disks[64];

	for (int i = 0; i < 64; i++) {
		server_init(&servers[i]);
		servers[i].info.queue_depth = 4;
		server_run(&servers[i]);
		disks[i] = open_disk(servers[i].info.dev_id, O_RDWR);
		memset(out, i + 1, 4096);
		CHECK_EQ(pwrite(disks[i], out, 4096, 4096), 4096);
	}
	for (int i = 63; i >= 0; i--) {
		CHECK_EQ(pread(disks[i], in, 4096, 4096), 4096);
		CHECK_EQ(in[4095], i + 1);
		CHECK_EQ(servers[i].memory[4096], i + 1);
		close(disks[i]);
		server_delete(&servers[i]);
	}
}

static void lives_follow_each_other(void)
{
	for (int i = 0; i < 20; i++) {
		struct server server;

		server_init(&server);
		server_run(&server);
		CHECK_EQ(server.info.dev_id, 0);
		server_delete(&server);
	}
}

/* ---- the control fds ---- */

static void the_last_control_fd_holds_the_device(void)
{
	struct server server;
	int second;

	server_init(&server);
	server_run(&server);
	second = open_dev(server.info.dev_id);
	CHECK(second >= 0);
	close(server.control);
	CHECK_EQ(get_state(second), UBD_S_DEV_LIVE);
	close(second);
	WAIT_UNTIL(!exists(block_node(server.info.dev_id)), 5);
	WAIT_UNTIL(!exists(char_node(server.info.dev_id)), 5);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
}

static void the_end_of_the_last_control_fd_fails_open_disks(void)
{
	uint8_t *data = aligned(4096);
	struct server server;
	int disk;

	server_init(&server);
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(pread(disk, data, 4096, 0), 4096);
	close(server.control);
	WAIT_UNTIL(!exists(char_node(server.info.dev_id)), 5);
	CHECK(pread(disk, data, 4096, 8192) <= 0);
	close(disk);
}

static void an_added_device_ends_with_its_control_fd(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CHECK(exists(char_node(info.dev_id)));
	close(fd);
	WAIT_UNTIL(!exists(char_node(info.dev_id)), 5);
}

/* ---- START_DEV ---- */

static void *start_in_vain(void *arg)
{
	struct server *server = arg;

	CHECK_EQ(control(server->control, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
	return NULL;
}

static void stop_ends_a_start_that_waits_for_fetches(void)
{
	struct server server;
	pthread_t thread;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(pthread_create(&thread, NULL, start_in_vain, &server), 0);
	usleep(200000);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_ADDED);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_SET_PARAMS, &server.params, sizeof(server.params)),
		 -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* ---- partitions ---- */

static int count_reads(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) == UBD_IO_OP_READ)
		__atomic_add_fetch((int *)server->data, 1, __ATOMIC_SEQ_CST);
	return server_handle(server, desc, buffer);
}

/* A partition table of DOS with one partition, from 1 MiB on. */
static void write_table(uint8_t *sector)
{
	static const uint8_t entry[16] = { [4] = 0x83, [9] = 0x08, [13] = 0x10 };

	memset(sector, 0, 512);
	memcpy(sector + 446, entry, sizeof(entry));
	sector[510] = 0x55;
	sector[511] = 0xaa;
}

static void check_partition(const struct server *server, bool wanted)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/ubdb%up1", server->info.dev_id,
		 server->info.dev_id);
	CHECK_EQ(exists(path), wanted);
}

static void partitions_are_looked_for_unless_the_server_minds(void)
{
	for (int minds = 0; minds < 2; minds++) {
		struct server server;
		int reads = 0, disk;

		server_init(&server);
		server.handle = count_reads;
		server.data = &reads;
		server.memory = aligned(16 << 20);
		write_table(server.memory);
		server.info.flags = minds ? UBD_F_NO_AUTO_PART_SCAN : 0;
		server_run(&server);
		CHECK_EQ(reads > 0, !minds);
		check_partition(&server, !minds);
		/* Nor does the first open, unless it is told to. */
		disk = open_disk(server.info.dev_id, O_RDWR);
		check_partition(&server, !minds);
		CHECK_EQ(ioctl(disk, BLKRRPART), 0);
		check_partition(&server, true);
		close(disk);
		server_delete(&server);
		free(server.memory);
	}
}

static void a_module_in_use_cannot_be_unloaded(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = add_dev(&info);

	CHECK(fd >= 0);
	CHECK(syscall(SYS_delete_module, "ubd", O_NONBLOCK) < 0);
	CHECK_EQ(errno, EWOULDBLOCK);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a device lives and a sector is read", a_device_lives_and_a_sector_is_read },
		{ "a device never started is deleted", a_device_never_started_is_deleted },
		{ "STOP_DEV removes the disk and ends the FETCHes",
		  stop_removes_the_disk_and_ends_the_fetches },
		{ "STOP_DEV writes back what is cached", stop_writes_back_what_is_cached },
		{ "64 devices live at once", many_devices_live_at_once },
		{ "lives follow each other", lives_follow_each_other },
		{ "the last control fd holds the device", the_last_control_fd_holds_the_device },
		{ "the end of the last control fd fails open disks",
		  the_end_of_the_last_control_fd_fails_open_disks },
		{ "an added device ends with its control fd",
		  an_added_device_ends_with_its_control_fd },
		{ "STOP_DEV ends a START_DEV that waits for FETCHes",
		  stop_ends_a_start_that_waits_for_fetches },
		{ "partitions are looked for unless the server minds",
		  partitions_are_looked_for_unless_the_server_minds },
		{ "a module in use cannot be unloaded", a_module_in_use_cannot_be_unloaded },
	};
	int failed = RUN_TESTS(tests, argc, argv);

	return failed | RUN_TESTS_BY_BATCHES(tests, argc, argv);
}
