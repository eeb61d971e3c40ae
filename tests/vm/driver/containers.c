// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices of users without CAP_SYS_ADMIN (R4): from inside user, mount and PID namespaces in
 * which there is nothing but /dev/ubd-control; their limits; and that users are kept apart (R5).
 */
#include "lib.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALICE  1000
#define BOB    1001
#define SUBUID 100000 /* the first of those that an administrator has delegated */
#define MIN_ID 2048   /* of an unprivileged device */

/* Long for what takes no time on a machine that is not busy. */
#define AGE    30

/* ---- the administrator ---- */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void set_param(const char *name, const char *value)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/module/ubd/parameters/%s", name);
	write_file(path, value);
}

static void read_attr(uint32_t id, const char *name, char *ret_text, size_t size)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/ubd/ubdc%u/%s", id, name);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	memset(ret_text, 0, size);
	CHECK(read(fd, ret_text, size - 1) > 0);
	close(fd);
}

static void allow(void)
{
	set_param("unprivileged", "1");
	set_param("unprivileged_per_user", "2");
	set_param("unprivileged_total", "64");
	set_param("unprivileged_timeout", "30");
	CHECK_EQ(chmod("/dev/ubd-control", 0666), 0);
}

static void forbid(void)
{
	set_param("unprivileged", "0");
	chmod("/dev/ubd-control", 0600);
}

/* ---- users ---- */

static void become(uid_t uid)
{
	CHECK_EQ(setgroups(0, NULL), 0);
	CHECK_EQ(setresgid(uid, uid, uid), 0);
	CHECK_EQ(setresuid(uid, uid, uid), 0);
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0); /* else /proc/self is root's */
}

/* Becomes root of a user namespace of the caller's own, in which there are no other users. */
static void enter_namespace(int more)
{
	char map[32];

	snprintf(map, sizeof(map), "0 %u 1", geteuid());
	CHECK_EQ(unshare(CLONE_NEWUSER | more), 0);
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", map);
	write_file("/proc/self/gid_map", map);
}

/* All that is left in /dev is ubd-control. */
static void empty_dev(void)
{
	CHECK_EQ(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	CHECK_EQ(mount("proc", "/proc", "proc", 0, NULL), 0);
	CHECK_EQ(mount("dev", "/mnt", "tmpfs", 0, NULL), 0);
	CHECK(creat("/mnt/ubd-control", 0600) >= 0);
	CHECK_EQ(mount("/dev/ubd-control", "/mnt/ubd-control", NULL, MS_BIND, NULL), 0);
	CHECK_EQ(mount("/mnt", "/dev", NULL, MS_MOVE, NULL), 0);
	CHECK(!exists("/dev/null"));
}

static int try_add(struct ubdsrv_ctrl_dev_info *ret_info)
{
	*ret_info = usual_info();
	return add_dev(ret_info);
}

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

/* ---- who may ---- */

static uint64_t features(void)
{
	int node = open("/dev/ubd-control", O_RDWR);
	uint64_t known;

	CHECK_EQ(control(node, UBD_CMD_GET_FEATURES, &known, sizeof(known)), 0);
	close(node);
	return known;
}

static void add_in_vain(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(ALICE);
	if (arg)
		enter_namespace(0);
	CHECK_EQ(try_add(&info), -EPERM);
}

static void check_it_is_off(void)
{
	CHECK_EQ(chmod("/dev/ubd-control", 0666), 0);
	CHECK(!(features() & UBD_F_UNPRIVILEGED));
	check_exit(spawn(add_in_vain, NULL), 0);
	check_exit(spawn(add_in_vain, ""), 0);
}

static void r4_is_off_by_default(void)
{
	check_it_is_off();
	allow();
	CHECK(features() & UBD_F_UNPRIVILEGED);
	forbid();
	check_it_is_off();
}

/* ---- a container ---- */

/* The disk's file works, and can be opened by a path as long as there is the disk. */
static void use_disk(struct server *server, int disk, char *ret_path)
{
	uint8_t *out = aligned(65536), *in = aligned(65536);
	int again;

	memset(out, 0x5a, 65536);
	CHECK_EQ(fcntl(disk, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(pwrite(disk, out, 65536, 4096), 65536);
	CHECK_EQ(fsync(disk), 0);
	CHECK(!memcmp(server->memory + 4096, out, 65536));
	sprintf(ret_path, "/proc/self/fd/%d", disk);
	again = open(ret_path, O_RDONLY | O_DIRECT);
	CHECK(again >= 0);
	CHECK_EQ(pread(again, in, 65536, 4096), 65536);
	CHECK(!memcmp(in, out, 65536));
	CHECK_EQ(lseek(again, 0, SEEK_END), (off_t)server->params.dev_sectors * 512);
	close(again);
}

static void live_in_a_container(void *arg)
{
	struct server server;
	char path[32];
	int disk;

	empty_dev();
	CHECK_EQ(getpid(), 1);
	server_init(&server);
	server_add(&server);
	CHECK_EQ(server.info.flags, UBD_F_UNPRIVILEGED);
	CHECK_EQ(server.info.owner_uid, 0);
	CHECK(!exists(char_node(server.info.dev_id)));
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0), -EINVAL);
	server_open_by_control(&server);
	server_serve(&server);
	server_start(&server);
	CHECK(!exists(block_node(server.info.dev_id)));
	disk = control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	CHECK(disk >= 0);
	use_disk(&server, disk, path);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0), -ENODEV);
	CHECK(open(path, O_RDONLY) < 0);
	CHECK_EQ(errno, ENXIO);
	server_delete(&server);
}

static void run_container(void *arg)
{
	become(ALICE);
	enter_namespace(CLONE_NEWNS | CLONE_NEWPID);
	check_exit(spawn(live_in_a_container, NULL), 0);
}

static void r4_a_container_has_a_device_of_its_own(void)
{
	allow();
	check_exit(spawn(run_container, NULL), 0);
}

/* ---- limits ---- */

static struct shared {
	int stage;
} * shared;

static void share(void)
{
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
}

static void reach(int stage)
{
	__atomic_store_n(&shared->stage, stage, __ATOMIC_SEQ_CST);
}

static void await(int stage)
{
	WAIT_UNTIL(__atomic_load_n(&shared->stage, __ATOMIC_SEQ_CST) >= stage, AGE);
}

static void have_one(void *arg)
{
	struct ubdsrv_ctrl_dev_info info;

	become(ALICE);
	enter_namespace(0);
	CHECK(try_add(&info) >= 0);
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
	share();
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

	share();
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
	share();
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
	CHECK(pread(disk, aligned(4096), 4096, 0) < 0);
	CHECK_EQ(errno, EIO);
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

/* ---- users side by side ---- */

static void serve(void *arg)
{
	struct server server;

	become(ALICE);
	server_init(&server);
	server_run(&server);
	CHECK_EQ(server.info.dev_id, MIN_ID);
	reach(1);
	await(2);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

static void reach_for_alices(void *arg)
{
	CHECK_EQ(open_dev(MIN_ID), -EACCES);
	CHECK(open(char_node(MIN_ID), O_RDWR) < 0);
	CHECK_EQ(errno, EACCES);
	CHECK(open(block_node(MIN_ID), O_RDONLY) < 0);
	CHECK_EQ(errno, EACCES);
}

static void return_to_ones_own(void *arg)
{
	CHECK(open_dev(MIN_ID) >= 0);
}

struct visit {
	uid_t uid;
	void (*run)(void *arg);
};

/* As the user, and as root of a namespace of his. */
static void pay_visit(void *arg)
{
	const struct visit *visit = arg;

	become(visit->uid);
	check_exit(spawn(visit->run, NULL), 0);
	enter_namespace(0);
	visit->run(NULL);
}

static void check_nodes(void)
{
	char text[16];
	struct stat st;

	CHECK_EQ(stat(char_node(MIN_ID), &st), 0);
	CHECK_EQ(st.st_uid, ALICE);
	CHECK_EQ(st.st_gid, ALICE);
	CHECK_EQ(st.st_mode, S_IFCHR | 0600);
	CHECK_EQ(stat(block_node(MIN_ID), &st), 0);
	CHECK_EQ(st.st_uid, 0);
	CHECK_EQ(st.st_mode, S_IFBLK | 0600);
	read_attr(MIN_ID, "owner_uid", text, sizeof(text));
	CHECK(!strcmp(text, "1000\n"));
	read_attr(MIN_ID, "owner_gid", text, sizeof(text));
	CHECK(!strcmp(text, "1000\n"));
	read_attr(MIN_ID, "unprivileged", text, sizeof(text));
	CHECK(!strcmp(text, "1\n"));
}

static void r5_users_are_kept_apart(void)
{
	struct visit visits[] = {
		{ BOB, reach_for_alices },
		{ SUBUID, reach_for_alices },
		{ ALICE, return_to_ones_own },
	};
	int alice, control_fd;

	allow();
	share();
	alice = spawn(serve, NULL);
	await(1);
	check_nodes();
	for (int i = 0; i < 3; i++)
		check_exit(spawn(pay_visit, &visits[i]), 0);
	control_fd = open_dev(MIN_ID);
	CHECK(control_fd >= 0);
	reach(2);
	check_exit(alice, 0);
}

/* Root's uid is that of every container without a user namespace. */
static void open_as_powerless_root(void *arg)
{
	CHECK_EQ(prctl(PR_CAPBSET_DROP, 21 /* CAP_SYS_ADMIN */), 0);
	execl("/proc/self/exe", "containers", "open-0", NULL);
	_exit(1);
}

static void r2b_root_is_no_owner_without_the_capability(void)
{
	struct ubdsrv_ctrl_dev_info info;

	CHECK(try_add(&info) >= 0);
	CHECK_EQ(info.dev_id, 0);
	CHECK(open_dev(0) >= 0);
	check_exit(spawn(open_as_powerless_root, NULL), 0);
}

/* ---- OPEN_BLOCK ---- */

/* The number of a disk that is gone may be another's; a descriptor stays with the first. */
static void a_block_file_is_of_one_disk(void)
{
	struct server servers[2];
	char path[32];
	int disk, again;

	server_init(&servers[0]);
	server_run(&servers[0]);
	disk = control(servers[0].control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	use_disk(&servers[0], disk, path);
	server_delete(&servers[0]);

	server_init(&servers[1]);
	servers[1].params.attrs |= UBD_ATTR_READ_ONLY;
	server_run(&servers[1]);
	CHECK_EQ(servers[1].info.dev_id, servers[0].info.dev_id);
	CHECK(open(path, O_RDONLY) < 0);
	CHECK_EQ(errno, ENXIO);
	CHECK(pwrite(disk, aligned(4096), 4096, 1 << 20) < 0);
	again = control(servers[1].control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	CHECK_EQ(pread(again, aligned(4096), 4096, 0), 4096);
	CHECK(write(again, path, 1) < 0);
	close(again);
	close(disk);
	server_delete(&servers[1]);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R4: it is off by default", r4_is_off_by_default },
		{ "R4: a container has a device of its own",
		  r4_a_container_has_a_device_of_its_own },
		{ "R4: a user has so many devices", r4_a_user_has_so_many_devices },
		{ "R4: uids in a namespace are one user", r4_uids_in_a_namespace_are_one_user },
		{ "R4: containers of root are users each", r4_containers_of_root_are_users_each },
		{ "R4: all users have so many devices", r4_all_users_have_so_many_devices },
		{ "R4: what may be asked for", r4_what_may_be_asked_for },
		{ "R4: the kernel looks for no partitions", r4_the_kernel_looks_for_no_partitions },
		{ "R4: nobody is kept waiting for long", r4_nobody_is_kept_waiting_for_long },
		{ "R5: users are kept apart", r5_users_are_kept_apart },
		{ "R2b: root is no owner without the capability",
		  r2b_root_is_no_owner_without_the_capability },
		{ "a block file is of one disk", a_block_file_is_of_one_disk },
	};
	int status;

	if (argc == 2 && !strcmp(argv[1], "open-0"))
		return open_dev(0) != -EACCES;
	status = RUN_TESTS(tests, argc, argv);
	forbid();
	return status;
}
