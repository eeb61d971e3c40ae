// SPDX-License-Identifier: GPL-2.0-or-later
/* How many devices users without CAP_SYS_ADMIN may have, and what these are not (R4). */
#include "users.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
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
	/* One of the last test's may be in its last moments. */
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

/* A namespace is no way around it, and others are not concerned. */
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

/* Who delegates uids does not delegate devices. */
static void r4_uids_in_a_namespace_are_one_user(void)
{
	int pid;

	allow();
	pid = spawn_with_subuids("");
	check_exit(spawn(have_none, NULL), 0);
	reach(4);
	check_exit(pid, 0);
}

/* As root's container engine makes them. */
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
	server_run(&server);
	disk = control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	/* An error, or the end of a disk that is gone. */
	CHECK(pread(disk, aligned(4096), 4096, 0) <= 0);
	CHECK(now() - start < AGE);
}

static void r4_nobody_is_kept_waiting_for_long(void)
{
	allow();
	set_param("request_timeout", "0");
	set_param("unprivileged_timeout", "1");
	check_exit(spawn(keep_waiting, NULL), 0);
	set_param("request_timeout", "300");
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
	};
	int status = RUN_TESTS(tests, argc, argv);

	forbid();
	return status;
}
