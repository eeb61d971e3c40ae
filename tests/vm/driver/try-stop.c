// SPDX-License-Identifier: GPL-2.0-or-later
/* TRY_STOP_DEV: a stop that spares a disk that is open. */
#include "actors.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static int try_stop(int control_fd)
{
	return control(control_fd, UBD_CMD_TRY_STOP_DEV, NULL, 0);
}

/* The kernel, which has looked for partitions, may close the disk only some time later. */
static void stop_unused(int control_fd)
{
	int res;

	WAIT_UNTIL((res = try_stop(control_fd)) != -EBUSY, AGE);
	CHECK_EQ(res, 0);
	CHECK_EQ(get_state(control_fd), UBD_S_DEV_STOPPED);
}

static void check_works(int disk)
{
	uint8_t *data = aligned(4096);

	CHECK_EQ(pwrite(disk, data, 4096, 4096), 4096);
	CHECK_EQ(pread(disk, data, 4096, 4096), 4096);
	free(data);
}

static void an_open_disk_is_spared(void)
{
	struct server server;
	int disk, again;

	server_init(&server);
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	again = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(try_stop(server.control), -EBUSY);
	close(again);
	CHECK_EQ(try_stop(server.control), -EBUSY);
	check_works(disk);
	again = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	close(again);
	close(disk);
	stop_unused(server.control);
	CHECK(!exists(block_node(server.info.dev_id)));
	CHECK_EQ(try_stop(server.control), 0);
	server_delete(&server);
}

static void a_mounted_disk_is_spared(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	make_file_system(server.info.dev_id);
	mount_disk(server.info.dev_id);
	CHECK_EQ(try_stop(server.control), -EBUSY);
	CHECK_EQ(umount("/mnt"), 0);
	stop_unused(server.control);
	server_delete(&server);
}

/* By way of a file that OPEN_BLOCK gives, which counts as well. */
static int open_partition(const struct server *server)
{
	struct blkpg_partition partition = { .start = 1 << 20, .length = 1 << 20, .pno = 1 };
	struct blkpg_ioctl_arg arg = { .op = BLKPG_ADD_PARTITION,
				       .datalen = sizeof(partition),
				       .data = &partition };
	int disk = control(server->control, UBD_CMD_OPEN_BLOCK, NULL, 0), fd;
	char node[32];

	CHECK(disk >= 0);
	CHECK_EQ(try_stop(server->control), -EBUSY);
	CHECK_EQ(ioctl(disk, BLKPG, &arg), 0);
	snprintf(node, sizeof(node), "%sp1", block_node(server->info.dev_id));
	WAIT_UNTIL((fd = open(node, O_RDWR | O_DIRECT | O_CLOEXEC)) >= 0, AGE);
	close(disk);
	return fd;
}

static void a_partition_is_part_of_the_disk(void)
{
	struct server server;
	int partition;

	server_init(&server);
	server_run(&server);
	partition = open_partition(&server);
	CHECK_EQ(try_stop(server.control), -EBUSY);
	check_works(partition);
	close(partition);
	stop_unused(server.control);
	server_delete(&server);
}

static void a_device_without_a_disk_is_stopped(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	stop_unused(server.control);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -ENODEV);
}

static void start(void *arg)
{
	CHECK_EQ(control(*(int *)arg, UBD_CMD_START_DEV, NULL, 0), 0);
}

/* START_DEV waits for FETCHes: the process that sent it is about to use the disk. */
static void a_device_that_starts_is_spared(void)
{
	struct server server;
	int starter;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	starter = spawn(start, &server.control);
	WAIT_UNTIL(control(server.control, UBD_CMD_SET_PARAMS, &server.params,
			   sizeof(server.params)) == -EBUSY,
		   AGE);
	CHECK_EQ(try_stop(server.control), -EBUSY);
	server_serve(&server);
	check_exit(starter, 0);
	stop_unused(server.control);
	server_delete(&server);
}

static void a_disk_that_waits_for_a_server_is_spared(void)
{
	int server = spawn_server(UBD_F_USER_RECOVERY), fd, disk;

	disk = open_disk(get(&shared->id), O_RDWR);
	kill_server(server);
	fd = open_waiting();
	CHECK_EQ(try_stop(fd), -EBUSY);
	CHECK_EQ(get_state(fd), UBD_S_DEV_QUIESCED);
	server = spawn_next();
	check_works(disk);
	close(disk);
	kill_server(server);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_QUIESCED, AGE);
	stop_unused(fd);
	delete_device();
}

/* For spawn(): a process that can open the disk can use it. */
static void open_and_use(void *arg)
{
	uint8_t *data = aligned(4096);
	int disk;

	for (;;) {
		disk = open(block_node(get(&shared->id)), O_RDWR | O_DIRECT | O_CLOEXEC);
		if (disk < 0)
			break;
		CHECK_EQ(pread(disk, data, 4096, 0), 4096);
		__atomic_add_fetch(&shared->step, 1, __ATOMIC_SEQ_CST);
		close(disk);
		usleep(getpid() % 7 * 100);
	}
	CHECK(errno == ENXIO || errno == ENOENT);
}

static void nobody_slips_in(void)
{
	for (int i = 0; i < 10; i++) {
		int server = spawn_server(UBD_F_USER_RECOVERY), users[3];
		int fd = open_dev(get(&shared->id));

		for (int j = 0; j < 3; j++)
			users[j] = spawn(open_and_use, NULL);
		WAIT_UNTIL(get(&shared->step) > 30, AGE);
		stop_unused(fd);
		for (int j = 0; j < 3; j++)
			check_exit(users[j], 0);
		close(fd);
		delete_device();
		kill_server(server);
	}
}

static void what_was_written_is_there(void)
{
	struct server server;
	uint8_t data[4096];
	int disk;

	server_init(&server);
	server_run(&server);
	memset(data, 0x5a, sizeof(data));
	disk = open(block_node(server.info.dev_id), O_RDWR | O_CLOEXEC);
	CHECK_EQ(pwrite(disk, data, sizeof(data), 65536), sizeof(data));
	CHECK_EQ(try_stop(server.control), -EBUSY);
	close(disk);
	stop_unused(server.control);
	CHECK(!memcmp(server.memory + 65536, data, sizeof(data)));
	server_delete(&server);
}

static void wrong_arguments_are_refused(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd = add_dev(&info), node = open("/dev/ubd-control", O_RDWR | O_CLOEXEC);

	CHECK_EQ(control(fd, UBD_CMD_TRY_STOP_DEV, &info, 0), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_TRY_STOP_DEV, NULL, 8), -EINVAL);
	CHECK_EQ(try_stop(node), -EINVAL);
	CHECK_EQ(get_state(fd), UBD_S_DEV_ADDED);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "an open disk is spared", an_open_disk_is_spared },
		{ "a mounted disk is spared", a_mounted_disk_is_spared },
		{ "a partition is part of the disk", a_partition_is_part_of_the_disk },
		{ "a device without a disk is stopped", a_device_without_a_disk_is_stopped },
		{ "a device that starts is spared", a_device_that_starts_is_spared },
		{ "a disk that waits for a server is spared",
		  a_disk_that_waits_for_a_server_is_spared },
		{ "nobody slips in", nobody_slips_in },
		{ "what was written is there", what_was_written_is_there },
		{ "wrong arguments are refused", wrong_arguments_are_refused },
	};

	return RUN_TESTS(tests, argc, argv);
}
