// SPDX-License-Identifier: GPL-2.0-or-later
/* How many devices users without CAP_SYS_ADMIN may have, and what such devices cannot do (R4). */
#include "users.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Adds devices until it is refused, for which there must be one reason only. */
static int add_all(void)
{
	struct ubdsrv_ctrl_dev_info info;
	int nr = 0, res;

	while ((res = try_add(&info)) >= 0)
		nr++;
	CHECK_EQ(res, -EDQUOT);
	return nr;
}

static void have_one(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(ALICE);
	enter_namespace(0);
	/* A device of the last test may not be gone yet. */
	WAIT_UNTIL(try_add(&info) >= 0, AGE);
	reach(1);
	await(2);
}

static void have_the_rest(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;
	int first;

	become(ALICE);
	first = try_add(&info);
	CHECK(first >= 0);
	CHECK_EQ(add_all(), 0);
	close(first);
	WAIT_UNTIL((first = try_add(&info)) >= 0, AGE);
	CHECK_EQ(add_all(), 0);
}

static void have_all_as(void *arg)
{
	become(*(uid_t *)arg);
	CHECK_EQ(add_all(), 2);
}

/* A namespace does not get around it, and other users are not affected. */
static void r4_a_user_has_so_many_devices(void)
{
	struct ubdsrv_ctrl_dev_info info;
	uid_t bob = BOB;
	int other;

	allow();
	share_stage();
	other = spawn(have_one, NULL);
	await(1);
	check_exit(spawn(have_the_rest, NULL), 0);
	check_exit(spawn(have_all_as, &bob), 0);
	CHECK(try_add(&info) >= 0);
	CHECK(info.dev_id < MIN_ID);
	CHECK(!(info.flags & UBD_F_UNPRIVILEGED));
	reach(2);
	check_exit(other, 0);
}

static void map_subuids(int pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	write_file(path, "0 100000 10");
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	write_file(path, "0 100000 10");
}

static void have_all_by_subuids(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	if (arg)
		become(ALICE);
	CHECK_EQ(unshare(CLONE_NEWUSER), 0);
	reach(1);
	await(2);
	CHECK_EQ(setresuid(1, 1, 0), 0);
	CHECK(try_add(&info) >= 0);
	CHECK_EQ(info.owner_uid, 1);
	CHECK_EQ(setresuid(2, 2, 0), 0);
	CHECK_EQ(add_all(), 1);
	reach(3);
	await(4);
}

static int spawn_with_subuids(void *arg)
{
	int pid;

	share_stage();
	pid = spawn(have_all_by_subuids, arg);
	await(1);
	map_subuids(pid);
	reach(2);
	await(3);
	return pid;
}

static void have_none(void *arg)
{
	become(ALICE);
	CHECK_EQ(add_all(), 0);
}

/* Delegating uids does not delegate devices. */
static void r4_uids_in_a_namespace_are_one_user(void)
{
	int pid;

	allow();
	pid = spawn_with_subuids("");
	check_exit(spawn(have_none, NULL), 0);
	reach(4);
	check_exit(pid, 0);
}

/* As created by root's container engine. */
static void r4_containers_of_root_are_users_each(void)
{
	int first, second;

	allow();
	first = spawn_with_subuids(NULL);
	second = spawn_with_subuids(NULL);
	reach(4);
	check_exit(second, 0);
	CHECK_EQ(kill(first, SIGKILL), 0);
	check_exit(first, SIGKILL);
}

static void add_in_a_full_house(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(BOB);
	CHECK_EQ(try_add(&info), -EDQUOT);
}

static void r4_all_users_have_so_many_devices(void)
{
	struct ubdsrv_ctrl_dev_info info;
	int alice;

	allow();
	set_param("unprivileged_total", "1");
	share_stage();
	alice = spawn(have_one, NULL);
	await(1);
	check_exit(spawn(add_in_a_full_house, NULL), 0);
	CHECK(try_add(&info) >= 0);
	reach(2);
	check_exit(alice, 0);
}

/* ---- what such a device is not ---- */

static int add_with(uint64_t flags, uint32_t id)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	info.flags = flags;
	info.dev_id = id;
	return add_dev(&info);
}

static void ask_for_too_much(void *arg)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	become(ALICE);
	CHECK_EQ(add_with(UBD_F_USER_RECOVERY, UBD_DEV_ID_ANY), -EPERM);
	CHECK_EQ(add_with(UBD_F_USER_COPY, UBD_DEV_ID_ANY), -EPERM);
	CHECK_EQ(add_with(UBD_F_UNPRIVILEGED, UBD_DEV_ID_ANY), -EINVAL);
	CHECK_EQ(add_with(0, 0), -EPERM);
	CHECK_EQ(add_with(0, MIN_ID - 1), -EPERM);
	CHECK(add_with(0, MIN_ID + 7) >= 0);
	info.nr_hw_queues = 64;
	info.queue_depth = UBD_MAX_QUEUE_DEPTH;
	info.max_io_bytes = UBD_MAX_IO_BYTES;
	CHECK(add_dev(&info) >= 0);
	CHECK(info.nr_hw_queues <= 4);
	CHECK_EQ(info.queue_depth, 128);
	CHECK_EQ(info.max_io_bytes, 1 << 20);
}

static void r4_what_may_be_asked_for(void)
{
	allow();
	CHECK_EQ(add_with(UBD_F_UNPRIVILEGED, UBD_DEV_ID_ANY), -EINVAL);
	check_exit(spawn(ask_for_too_much, NULL), 0);
}

static int count(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	__atomic_add_fetch((int *)server->data, 1, __ATOMIC_SEQ_CST);
	return server_handle(server, desc, buffer);
}

static int requests_at_start(void)
{
	struct server server;
	int nr = 0;

	server_init(&server);
	server.handle = count;
	server.data = &nr;
	server_run(&server);
	server_delete(&server);
	return nr;
}

static void start_unseen(void *arg)
{
	become(ALICE);
	CHECK_EQ(requests_at_start(), 0);
}

static void r4_the_kernel_looks_for_no_partitions(void)
{
	allow();
	CHECK(requests_at_start() > 0);
	check_exit(spawn(start_unseen, NULL), 0);
}

static int keep(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	return SERVER_KEEP;
}

static void keep_waiting(void *arg)
{
	struct server server;
	double start = now();
	int disk;

	become(ALICE);
	server_init(&server);
	server.handle = keep;
	server.params.request_timeout = *(uint32_t *)arg;
	server_run(&server);
	disk = control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	/* An error, or the end of a disk that is gone. */
	CHECK(pread(disk, aligned(4096), 4096, 0) <= 0);
	CHECK(now() - start < AGE);
}

static void r4_nobody_is_kept_waiting_for_long(void)
{
	allow();
	for (int i = 0; i < 2; i++) {
		uint32_t timeout = i ? UBD_NO_REQUEST_TIMEOUT : 0;

		set_param("unprivileged_timeout", "1");
		check_exit(spawn(keep_waiting, &timeout), 0);
	}
}

#define KEPT_SECTOR 16384

static int keep_some(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	return desc->start_sector == KEPT_SECTOR ? SERVER_KEEP
						 : server_handle(server, desc, buffer);
}

static void *read_kept(void *disk)
{
	CHECK(pread(*(int *)disk, aligned(4096), 4096, KEPT_SECTOR * 512) <= 0);
	return NULL;
}

/* All other requests of the queue are answered until the device ends. */
static void keep_one_waiting(void *arg)
{
	struct server server;
	pthread_t reader;
	double start;
	void *data;
	int disk;

	become(ALICE);
	server_init(&server);
	server.handle = keep_some;
	server.info.nr_hw_queues = 1;
	server_run(&server);
	disk = control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	CHECK_EQ(fcntl(disk, F_SETFL, O_DIRECT), 0);
	CHECK_EQ(pthread_create(&reader, NULL, read_kept, &disk), 0);
	data = aligned(4096);
	for (start = now(); pread(disk, data, 4096, 0) == 4096; usleep(100000))
		CHECK(now() - start < AGE);
	CHECK_EQ(pthread_join(reader, NULL), 0);
}

static void r4_nobody_is_kept_waiting_beside_others(void)
{
	allow();
	set_param("unprivileged_timeout", "2");
	check_exit(spawn(keep_one_waiting, NULL), 0);
}

/* ---- how often udev is told ---- */

static void add_one(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(ALICE);
	try_add(&info);
	pause();
}

/* How many ubdcN have been added, of those that are still in the socket. */
static int count_additions(int uevents)
{
	char text[4096];
	int nr = 0;

	for (;;) {
		ssize_t len = recv(uevents, text, sizeof(text) - 1, MSG_DONTWAIT);

		if (len < 0)
			break;
		text[len] = '\0';
		nr += strncmp(text, "add@", 4) == 0 && strstr(text, "/ubdc") &&
		      !strstr(text, "/block/");
	}
	CHECK_EQ(errno, EAGAIN);
	return nr;
}

/* Kills end the wait for the next event, but bring none. */
static void r4_killed_processes_tell_udev_no_sooner(void)
{
	int uevents = listen_to_uevents(), adders[2];
	double start, seconds;

	allow();
	start = now();
	while (now() - start < 3) {
		for (int i = 0; i < 2; i++)
			adders[i] = spawn(add_one, NULL);
		usleep(10000);
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(kill(adders[i], SIGKILL), 0);
			check_exit(adders[i], SIGKILL);
		}
	}
	seconds = now() - start;
	CHECK(count_additions(uevents) <= 4 * seconds + 1);
	close(uevents);
}

static void add_some(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(ALICE);
	for (int i = 0; i < 4; i++) {
		int fd;

		WAIT_UNTIL((fd = try_add(&info)) >= 0, AGE);
		close(fd);
	}
}

/* Adding in parallel does not get a user more events, and all additions succeed in the end. */
static void r4_a_user_tells_udev_so_often(void)
{
	int uevents = listen_to_uevents(), adders[2];
	double start = now();

	allow();
	for (int i = 0; i < 2; i++)
		adders[i] = spawn(add_some, NULL);
	for (int i = 0; i < 2; i++)
		check_exit(adders[i], 0);
	CHECK_EQ(count_additions(uevents), 8);
	CHECK(now() - start > 1.7);
	close(uevents);
}

/* ---- how slow a server may be ---- */

static int write_slowly(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) == UBD_IO_OP_WRITE)
		usleep(*(int *)server->data);
	return server_handle(server, desc, buffer);
}

/* An unprivileged disk whose server takes this long for a write. */
static int run_slow_server(struct server *server, int *delay_us)
{
	become(ALICE);
	server_init(server);
	server->handle = write_slowly;
	server->data = delay_us;
	server->info.nr_hw_queues = 1;
	server_run(server);
	return control(server->control, UBD_CMD_OPEN_BLOCK, NULL, 0);
}

/* Each write is in time, but all of them together would take forever. */
static void write_on_and_on(void *arg)
{
	int delay_us = 100000, disk;
	uint8_t data[4096] = {};
	struct server server;

	disk = run_slow_server(&server, &delay_us);
	/* Where few pages may be dirty it waits here. */
	for (int i = 0; i < 2000; i++)
		if (pwrite(disk, data, sizeof(data), i * 8192) < 0)
			break;
	CHECK(fsync(disk) < 0);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, AGE);
}

static void r4_nobody_is_kept_waiting_bit_by_bit(void)
{
	double start = now();

	allow();
	set_param("unprivileged_timeout", "3");
	check_exit(spawn(write_on_and_on, NULL), 0);
	CHECK(now() - start < 3 * AGE);
}

/* Time without writes does not count, and neither does what was written meanwhile. */
static void write_now_and_then(void *arg)
{
	int delay_us = *(int *)arg, disk;
	uint8_t data[4096] = {};
	struct server server;

	disk = run_slow_server(&server, &delay_us);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(pwrite(disk, data, sizeof(data), i * 8192), sizeof(data));
		CHECK_EQ(fsync(disk), 0);
		usleep(delay_us ? 0 : 200000);
	}
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

static void r4_a_server_may_have_little_to_do(void)
{
	int delay_us = 0;

	allow();
	set_param("unprivileged_timeout", "2");
	set_param("unprivileged_min_rate", "64");
	check_exit(spawn(write_now_and_then, &delay_us), 0);
	set_param("unprivileged_min_rate", "1024");
}

static void r4_an_administrator_may_allow_any_rate(void)
{
	int delay_us = 200000;

	allow();
	set_param("unprivileged_timeout", "2");
	set_param("unprivileged_min_rate", "0");
	check_exit(spawn(write_now_and_then, &delay_us), 0);
	set_param("unprivileged_min_rate", "1024");
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R4: a user has so many devices", r4_a_user_has_so_many_devices },
		{ "R4: uids in a namespace are one user", r4_uids_in_a_namespace_are_one_user },
		{ "R4: containers of root are users each", r4_containers_of_root_are_users_each },
		{ "R4: all users have so many devices", r4_all_users_have_so_many_devices },
		{ "R4: what may be asked for", r4_what_may_be_asked_for },
		{ "R4: the kernel looks for no partitions", r4_the_kernel_looks_for_no_partitions },
		{ "R4: nobody is kept waiting for long", r4_nobody_is_kept_waiting_for_long },
		{ "R4: nobody is kept waiting beside others",
		  r4_nobody_is_kept_waiting_beside_others },
		{ "R4: killed processes tell udev no sooner",
		  r4_killed_processes_tell_udev_no_sooner },
		{ "R4: a user tells udev so often", r4_a_user_tells_udev_so_often },
		{ "R4: nobody is kept waiting bit by bit", r4_nobody_is_kept_waiting_bit_by_bit },
		{ "R4: a server may have little to do", r4_a_server_may_have_little_to_do },
		{ "R4: an administrator may allow any rate",
		  r4_an_administrator_may_allow_any_rate },
	};
	int status = RUN_TESTS(tests, argc, argv);

	forbid();
	return status;
}
