// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices of users without CAP_SYS_ADMIN (R4), in user, mount and PID namespaces with nothing but
 * /dev/ubd-control; and isolation between users (R5).
 */
#include "actors.h"
#include "users.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Leaves nothing but ubd-control in /dev. */
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

/* ---- users side by side ---- */

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

/* Of a disk whose node any user may open. */
static void open_the_trap(void *arg)
{
	CHECK(open(block_node(MIN_ID), O_RDONLY) < 0);
	CHECK_EQ(errno, EPERM);
}

static void open_ones_own_disk(void *arg)
{
	CHECK(open(block_node(MIN_ID), O_RDWR) >= 0);
}

/* A process that was given the control fd may do all of it. */
static void open_by_control(void *arg)
{
	int disk = control(*(int *)arg, UBD_CMD_OPEN_BLOCK, NULL, 0);

	become(BOB);
	CHECK(disk >= 0);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
	close(disk);
	disk = control(*(int *)arg, UBD_CMD_OPEN_BLOCK, NULL, 0);
	CHECK(disk >= 0);
	CHECK_EQ(pread(disk, aligned(4096), 4096, 4096), 4096);
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
	share_stage();
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
	execl("/proc/self/exe", "containers", arg, NULL);
	_exit(1);
}

static void an_open_node_is_no_trap(void)
{
	struct visit visits[] = {
		{ BOB, open_the_trap },
		{ SUBUID, open_the_trap },
		{ ALICE, open_ones_own_disk },
	};
	int alice, control_fd;

	allow();
	share_stage();
	alice = spawn(serve, NULL);
	await(1);
	CHECK_EQ(chmod(block_node(MIN_ID), 0666), 0);
	for (int i = 0; i < 3; i++)
		check_exit(spawn(pay_visit, &visits[i]), 0);
	check_exit(spawn(open_as_powerless_root, "open-the-trap"), 0);
	open_ones_own_disk(NULL);
	control_fd = open_dev(MIN_ID);
	CHECK(control_fd >= 0);
	check_exit(spawn(open_by_control, &control_fd), 0);
	reach(2);
	check_exit(alice, 0);
}

static void r2b_root_is_no_owner_without_the_capability(void)
{
	struct ubdsrv_ctrl_dev_info info;

	CHECK(try_add(&info) >= 0);
	CHECK_EQ(info.dev_id, 0);
	CHECK(open_dev(0) >= 0);
	check_exit(spawn(open_as_powerless_root, "open-0"), 0);
}

/* ---- an administrator's device that somebody else serves ---- */

/* A table with one partition, of 4096 sectors from 2048 on. */
static void make_partition(uint8_t *disk)
{
	const uint8_t entry[16] = { 0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0 };

	memcpy(disk + 446, entry, sizeof(entry));
	memcpy(disk + 510, "\x55\xaa", 2);
}

static bool has_partition(void)
{
	char path[48];

	snprintf(path, sizeof(path), "%sp1", block_node(get(&shared->id)));
	return exists(path);
}

/* Returns 0 or an errno. */
static int scan_again(void)
{
	int disk = open(block_node(get(&shared->id)), O_RDONLY | O_CLOEXEC);
	int err = ioctl(disk, BLKRRPART) ? errno : 0;

	close(disk);
	return err;
}

static bool is_unprivileged(void)
{
	char text[16];

	read_attr(get(&shared->id), "unprivileged", text, sizeof(text));
	return !strcmp(text, "1\n");
}

/* Alice has nothing but the control fd. */
static void serve_as_alice(void *arg)
{
	struct server *server = arg;

	become(ALICE);
	server_open_by_control(server);
	server_serve(server);
	server_start(server);
	serve_for_ever(server);
}

static void a_disk_that_somebody_else_serves_is_not_scanned(void)
{
	struct server server;
	int pid;

	share();
	set(&shared->keeps, false);
	make_partition(shared->disk);
	init_server(&server);
	server_add(&server);
	pid = wait_for_server(spawn(serve_as_alice, &server));
	CHECK(is_unprivileged());
	CHECK(!has_partition());
	CHECK_EQ(scan_again(), EINVAL);
	CHECK(!has_partition());
	kill_server(pid);
	close(server.control);
	check_gone(get(&shared->id));
}

static void recover_as_alice(void *arg)
{
	struct server *server = arg;

	become(ALICE);
	CHECK_EQ(control(server->control, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	server_open_by_control(server);
	server_serve(server);
	CHECK_EQ(control(server->control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	serve_for_ever(server);
}

static int spawn_alice(void)
{
	struct server server;

	init_server(&server);
	server.control = open_waiting();
	CHECK_EQ(control(server.control, UBD_CMD_GET_DEV_INFO, &server.info, sizeof(server.info)),
		 0);
	set(&shared->id, -1);
	return wait_for_server(spawn(recover_as_alice, &server));
}

static void no_scan_as_long_as_somebody_else_serves(void)
{
	int server;

	share();
	make_partition(shared->disk);
	server = spawn_server(UBD_F_USER_RECOVERY);
	CHECK(has_partition());
	CHECK(!is_unprivileged());
	kill_server(server);
	server = spawn_alice();
	CHECK(is_unprivileged());
	CHECK_EQ(scan_again(), EINVAL);
	kill_server(server);
	server = spawn_next();
	CHECK(!is_unprivileged());
	CHECK_EQ(scan_again(), 0);
	CHECK(has_partition());
	kill_server(server);
	delete_device();
}

/* ---- OPEN_BLOCK ---- */

/* A descriptor stays with its disk, and no other disk gets the number of that meanwhile. */
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
	CHECK(servers[1].info.dev_id != servers[0].info.dev_id);
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

/* Who only keeps the place, and opens it when there could be another disk. */
static void a_stale_block_file_claims_no_other_disk(void)
{
	struct ubdsrv_ctrl_dev_info info;
	struct server server;
	char path[32];
	int disk, place, fd;

	server_init(&server);
	server_run(&server);
	disk = control(server.control, UBD_CMD_OPEN_BLOCK, NULL, 0);
	sprintf(path, "/proc/self/fd/%d", disk);
	place = open(path, O_PATH | O_CLOEXEC);
	CHECK(place >= 0);
	close(disk);
	server_delete(&server);

	info = usual_info();
	info.dev_id = server.info.dev_id;
	CHECK_EQ(add_dev(&info), -EEXIST);
	sprintf(path, "/proc/self/fd/%d", place);
	CHECK(open(path, O_RDWR | O_EXCL) < 0);
	CHECK_EQ(errno, ENXIO);
	close(place);
	WAIT_UNTIL((fd = add_dev(&info)) >= 0, AGE);
	close(fd);
}

static void a_disk_that_is_being_removed_is_not_opened(void)
{
	int server = spawn_server(0), disk, stopper = spawn_waiting_stop(&disk);
	int fd = open_dev(get(&shared->id));

	CHECK_EQ(control(fd, UBD_CMD_OPEN_BLOCK, NULL, 0), -ENODEV);
	kill_server(server);
	check_exit(stopper, 0);
	close(disk);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R4: it is off by default", r4_is_off_by_default },
		{ "R4: a container has a device of its own",
		  r4_a_container_has_a_device_of_its_own },
		{ "R5: users are kept apart", r5_users_are_kept_apart },
		{ "an open node is no trap", an_open_node_is_no_trap },
		{ "R2b: root is no owner without the capability",
		  r2b_root_is_no_owner_without_the_capability },
		{ "a disk that somebody else serves is not scanned",
		  a_disk_that_somebody_else_serves_is_not_scanned },
		{ "no scan as long as somebody else serves",
		  no_scan_as_long_as_somebody_else_serves },
		{ "a block file is of one disk", a_block_file_is_of_one_disk },
		{ "a stale block file claims no other disk",
		  a_stale_block_file_claims_no_other_disk },
		{ "a disk that is being removed is not opened",
		  a_disk_that_is_being_removed_is_not_opened },
	};
	int status;

	if (argc == 2 && !strcmp(argv[1], "open-0"))
		return open_dev(0) != -EACCES;
	if (argc == 2 && !strcmp(argv[1], "open-the-trap"))
		return open(block_node(MIN_ID), O_RDONLY) >= 0 || errno != EPERM;
	status = RUN_TESTS(tests, argc, argv);
	forbid();
	return status;
}
