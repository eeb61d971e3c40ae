// SPDX-License-Identifier: GPL-2.0-or-later
/* Who may do what with a device: the review points R1, R2, R2b and R3. */
#include "lib.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OTHER_UID 1000
#define NOBODY	  65534

/* A file of /dev/ubd-control that root has opened: afterwards only the caller's rights count. */
static int node;

static void become(uid_t uid)
{
	CHECK_EQ(setgroups(0, NULL), 0);
	CHECK_EQ(setresgid(uid, uid, uid), 0);
	CHECK_EQ(setresuid(uid, uid, uid), 0);
}

static int add_on_node(struct ubdsrv_ctrl_dev_info *info)
{
	return control(node, UBD_CMD_ADD_DEV, info, sizeof(*info));
}

static int open_on_node(uint32_t id)
{
	struct ubd_open_dev arg = { .dev_id = id };

	return control(node, UBD_CMD_OPEN_DEV, &arg, sizeof(arg));
}

static void add_as_nobody(void *arg)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	become(NOBODY);
	CHECK(open("/dev/ubd-control", O_RDWR) < 0);
	CHECK_EQ(errno, EACCES);
	CHECK_EQ(add_on_node(&info), -EPERM);
}

static void add_as_root_of_a_namespace(void *arg)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	CHECK_EQ(unshare(CLONE_NEWUSER), 0);
	CHECK_EQ(add_on_node(&info), -EPERM);
}

static void r1_add_needs_the_capability(void)
{
	node = open("/dev/ubd-control", O_RDWR);
	CHECK(node >= 0);
	check_exit(spawn(add_as_nobody, NULL), 0);
	check_exit(spawn(add_as_root_of_a_namespace, NULL), 0);
	CHECK(!exists("/dev/ubdc0"));
}

/* Even for root, and whatever the argument is. */
static void r2_the_node_changes_no_device(void)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();
	struct ubd_params params = usual_params();
	struct server server;

	server_init(&server);
	server_run(&server);
	info.dev_id = server.info.dev_id;
	node = open("/dev/ubd-control", O_RDWR);
	for (uint32_t op = 0; op < 0x40; op++) {
		if (op == UBD_CMD_ADD_DEV || op == UBD_CMD_OPEN_DEV || op == UBD_CMD_GET_FEATURES)
			continue;
		CHECK_EQ(control(node, op, NULL, 0), -EINVAL);
		CHECK_EQ(control(node, op, &info, sizeof(info)), -EINVAL);
		CHECK_EQ(control(node, op, &params, sizeof(params)), -EINVAL);
	}
	CHECK_EQ(add_on_node(&info), -EEXIST);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

/* ---- R2b ---- */

/* The effective capabilities that setresuid() took away, except CAP_SYS_ADMIN. */
static void set_admin(bool admin)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = {};

	if (admin)
		sets[0].effective = sets[0].permitted = 1u << CAP_SYS_ADMIN;
	CHECK_EQ(syscall(SYS_capset, &header, sets), 0);
}

/* Adds a device that belongs to OTHER_UID and holds it. */
static void own(void *arg)
{
	struct ubdsrv_ctrl_dev_info info = usual_info();

	CHECK_EQ(prctl(PR_SET_KEEPCAPS, 1), 0);
	become(OTHER_UID);
	set_admin(true);
	CHECK(add_on_node(&info) >= 0);
	set_admin(false);
	*(volatile uint32_t *)arg = info.dev_id;
	pause();
}

static void become_and_stop(void *arg)
{
	int fd;

	become(OTHER_UID);
	fd = open_on_node(*(uint32_t *)arg);
	CHECK(fd >= 0);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(control(fd, UBD_CMD_STOP_DEV, NULL, 0), 0);
}

static void open_as_stranger(void *arg)
{
	become(NOBODY);
	CHECK_EQ(open_on_node(*(uint32_t *)arg), -EACCES);
}

static void open_as_root_of_a_namespace(void *arg)
{
	CHECK_EQ(unshare(CLONE_NEWUSER), 0);
	CHECK_EQ(open_on_node(*(uint32_t *)arg), -EACCES);
}

static void r2b_the_owner_and_the_administrator_may_open(void)
{
	uint32_t *id = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_open_dev arg = {};
	int fd;

	node = open("/dev/ubd-control", O_RDWR);
	*id = UBD_DEV_ID_ANY;
	spawn(own, id);
	WAIT_UNTIL(*(volatile uint32_t *)id != UBD_DEV_ID_ANY, 5);

	check_exit(spawn(open_as_stranger, id), 0);
	check_exit(spawn(open_as_root_of_a_namespace, id), 0);
	fd = open_on_node(*id);
	CHECK(fd >= 0);
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	CHECK_EQ(info.owner_uid, OTHER_UID);
	CHECK_EQ(info.owner_gid, OTHER_UID);
	CHECK_EQ(info.state, UBD_S_DEV_ADDED);
	check_exit(spawn(become_and_stop, id), 0);
	CHECK_EQ(get_state(fd), UBD_S_DEV_STOPPED);

	CHECK_EQ(open_on_node(*id + 1), -ENODEV);
	CHECK_EQ(open_on_node(UBD_DEV_ID_ANY), -ENODEV);
	arg.reserved[2] = 1;
	CHECK_EQ(control(node, UBD_CMD_OPEN_DEV, &arg, sizeof(arg)), -EINVAL);
	CHECK_EQ(control(fd, UBD_CMD_DEL_DEV, NULL, 0), 0);
	CHECK_EQ(open_on_node(*id), -ENODEV);
}

/* ---- R3 ---- */

static void send_fd(int socket, int fd)
{
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	*cmsg = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int)),
	};
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	CHECK_EQ(sendmsg(socket, &msg, 0), 1);
}

static int receive_fd(int socket)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space),
	};
	int fd;

	CHECK_EQ(recvmsg(socket, &msg, 0), 1);
	CHECK(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* Forked before there is a device, so it only has what it is sent. */
static void stop_by_fd(void *arg)
{
	int socket = *(int *)arg, fd;

	become(NOBODY);
	fd = receive_fd(socket);
	CHECK_EQ(open_on_node(0), -EACCES);
	CHECK_EQ(control(fd, UBD_CMD_STOP_DEV, NULL, 0), 0);
}

static void r3_whoever_is_given_the_fd_may_stop(void)
{
	struct server server;
	int sockets[2], stranger;

	node = open("/dev/ubd-control", O_RDWR);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	stranger = spawn(stop_by_fd, &sockets[1]);
	server_init(&server);
	server_run(&server);
	CHECK_EQ(server.info.dev_id, 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	send_fd(sockets[0], server.control);
	check_exit(stranger, 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_STOPPED);
	server_delete(&server);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "R1: ADD_DEV needs the capability", r1_add_needs_the_capability },
		{ "R2: no command on the control node changes a device",
		  r2_the_node_changes_no_device },
		{ "R2b: the owner and the administrator may open a device",
		  r2b_the_owner_and_the_administrator_may_open },
		{ "R3: whoever is given the control fd may stop the device",
		  r3_whoever_is_given_the_fd_may_stop },
	};

	return RUN_TESTS(tests, argc, argv);
}
