// SPDX-License-Identifier: GPL-2.0-or-later
/* Ends that come from outside and at any time: nothing hangs, and nothing is left. */
#include "actors.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- mounted ---- */

/* Dirty pages and an open file are there when the device goes. */
static void the_last_control_fd_closes_while_mounted(void)
{
	struct server server;
	char data[65536];
	int file;

	memset(data, 1, sizeof(data));
	server_init(&server);
	server_run(&server);
	make_file_system(server.info.dev_id);
	mount_disk(server.info.dev_id);
	file = open("/mnt/file", O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0);
	CHECK_EQ(write(file, data, sizeof(data)), sizeof(data));
	close(server.control);
	WAIT_UNTIL(!exists(char_node(server.info.dev_id)), AGE);
	CHECK(!exists(block_node(server.info.dev_id)));
	CHECK(fsync(file) < 0);
	close(file);
	CHECK_EQ(umount("/mnt"), 0);
}

static bool is_free(uint32_t id)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	int fd;

	info.dev_id = id;
	fd = add_dev(&info);
	if (fd < 0)
		CHECK_EQ(fd, -EEXIST);
	else
		close(fd);
	return fd >= 0;
}

/* A file system that is mounted on a dead disk keeps names that contain the number. */
static void a_number_is_free_when_the_last_user_has_gone(void)
{
	struct server server, next;
	int file, id;

	server_init(&server);
	server_run(&server);
	id = server.info.dev_id;
	make_file_system(id);
	mount_disk(id);
	file = open("/mnt/file", O_RDWR | O_CREAT, 0600);
	CHECK(file >= 0);
	CHECK_EQ(umount2("/mnt", MNT_DETACH), 0);
	server_delete(&server);
	CHECK(!exists(char_node(id)));
	CHECK_EQ(open_dev(id), -ENODEV);
	CHECK(!is_free(id));

	/* The next device has another number, and can be mounted beside it. */
	server_init(&next);
	server_run(&next);
	CHECK(next.info.dev_id != (uint32_t)id);
	make_file_system(next.info.dev_id);
	mount_disk(next.info.dev_id);
	CHECK_EQ(umount("/mnt"), 0);
	server_delete(&next);

	close(file);
	WAIT_UNTIL(is_free(id), AGE);
}

/* ---- races ---- */

static bool may_be(int res)
{
	return res == 0 || res == -ENODEV || res == -EBUSY || res == -EINVAL;
}

/* A server whose device anyone may stop or delete at any time. */
static void serve_in_a_race(struct server *server)
{
	server_init(server);
	server->info.queue_depth = 4;
	server->control = add_dev(&server->info);
	CHECK(server->control >= 0);
	server->memory = aligned(server->params.dev_sectors * 512);
	CHECK(may_be(control(server->control, UBD_CMD_SET_PARAMS, &server->params,
			     sizeof(server->params))));
	server->cdev = open(char_node(server->info.dev_id), O_RDWR | O_CLOEXEC);
	if (server->cdev >= 0) {
		server_map(server);
		server_serve(server);
		CHECK(may_be(control(server->control, UBD_CMD_START_DEV, NULL, 0)));
	}
	CHECK(may_be(control(server->control, UBD_CMD_DEL_DEV, NULL, 0)));
}

static void serve_again_and_again(void *arg)
{
	for (double end = now() + *(int *)arg; now() < end;) {
		struct server *server = calloc(1, sizeof(*server));
		int pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			serve_in_a_race(server);
			_exit(0);
		}
		check_exit(pid, 0);
		free(server);
	}
}

/* Takes any device there is, and sends it anything. */
static void interfere(void *arg)
{
	const uint32_t ops[] = { UBD_CMD_START_DEV, UBD_CMD_STOP_DEV, UBD_CMD_DEL_DEV,
				 UBD_CMD_QUIESCE, UBD_CMD_START_RECOVERY };
	struct ubdsrv_ctrl_dev_info info;
	unsigned int seed = getpid();

	for (double end = now() + *(int *)arg; now() < end;) {
		int fd = open_dev(rand_r(&seed) % 4), res;

		if (fd < 0) {
			CHECK_EQ(fd, -ENODEV);
			continue;
		}
		res = control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info));
		CHECK(res == 0 || res == -ENODEV);
		usleep(rand_r(&seed) % 20000);
		/* START_DEV may wait for FETCHes until the device is stopped, which its server
		 * does. */
		CHECK(may_be(control(fd, ops[rand_r(&seed) % 5], NULL, 0)));
		close(fd);
	}
}

static void lives_race_with_commands_from_others(void)
{
	int seconds = 8, pids[6];

	for (int i = 0; i < 6; i++)
		pids[i] = spawn(i < 3 ? serve_again_and_again : interfere, &seconds);
	for (int i = 0; i < 6; i++)
		check_exit(pids[i], 0);
}

/* ---- waits that can be killed ---- */

static void start(void *arg)
{
	control(*(int *)arg, UBD_CMD_START_DEV, NULL, 0);
}

static void delete (void *arg)
{
	control(*(int *)arg, UBD_CMD_DEL_DEV, NULL, 0);
}

/* No FETCH has come yet, so nothing has begun: the device can be started later. */
static void whoever_waits_for_start_can_be_killed(void)
{
	struct server server;

	server_init(&server);
	server_add(&server);
	server_open(&server);
	kill_waiting(start, &server.control);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_ADDED);
	server_serve(&server);
	server_start(&server);
	server_delete(&server);
}

/* Keeps requests for the second half until it is told to continue. */
static int hold(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	while (desc->start_sector >= 16384 &&
	       !__atomic_load_n((int *)server->data, __ATOMIC_SEQ_CST))
		usleep(1000);
	return server_handle(server, desc, buffer);
}

/* What was requested continues: here writing back, when the server answers again. */
static void whoever_waits_for_delete_can_be_killed(void)
{
	struct server server;
	char data[4096] = { 1 };
	int disk, goes_on = 0;

	server_init(&server);
	server.handle = hold;
	server.data = &goes_on;
	server_run(&server);
	disk = open(block_node(server.info.dev_id), O_WRONLY);
	CHECK_EQ(pwrite(disk, data, 4096, 16384 * 512), 4096);
	kill_waiting(delete, &server.control);
	CHECK(exists(char_node(server.info.dev_id)));
	__atomic_store_n(&goes_on, 1, __ATOMIC_SEQ_CST);
	WAIT_UNTIL(!exists(char_node(server.info.dev_id)), AGE);
	CHECK_EQ(server.memory[16384 * 512], 1);
	close(disk);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "the last control fd closes while mounted",
		  the_last_control_fd_closes_while_mounted },
		{ "a number is free when the last user has gone",
		  a_number_is_free_when_the_last_user_has_gone },
		{ "lives race with commands from others", lives_race_with_commands_from_others },
		{ "whoever waits for START_DEV can be killed",
		  whoever_waits_for_start_can_be_killed },
		{ "whoever waits for DEL_DEV can be killed",
		  whoever_waits_for_delete_can_be_killed },
	};

	return RUN_TESTS(tests, argc, argv);
}
