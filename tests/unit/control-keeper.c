// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a keeper does for its server, and what not once that is not trusted any more. This process
 * is the server; the driver is played in the keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command_ring.h"
#include "keeper.h"
#include "keeper_order.h"
#include "keeper_wire.h"
#include "ublk_abi.h"
#include "ublk_command.h"

#define ID 12

/* ---- the driver, in memory that the processes share ---- */

/* The keeper has a thread for each device. */
static struct {
	struct ublk_dev_info device;
	_Atomic bool is_there;
	_Atomic bool is_hidden; /* from udev */
	_Atomic unsigned adds;
	_Atomic int opener;
	_Atomic uint64_t started_pid;
	_Atomic int delete_res;
	_Atomic bool delete_waits, is_deleting;
} * driver;

static char *shown; /* in sysfs */

/* A device, in place of what has had the number before. */
static void show_device(void)
{
	g_autofree char *next = g_strconcat(shown, "-next", NULL);

	g_assert_cmpint(g_mkdir(next, 0700), ==, 0);
	g_assert_cmpint(g_rename(next, shown), ==, 0);
	driver->is_there = true;
}

int __wrap_open64(const char *name, int flags, ...);
int __real_open64(const char *name, int flags, ...);
int __wrap_command_ring_init(struct command_ring *cr, unsigned flags);
void __wrap_command_ring_exit(struct command_ring *cr);
int __wrap_command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
			    size_t cmd_bytes, unsigned limit_s);
int __wrap_disk_mark_write(const char *disk, const char *name, bool no_probe, GError **err);
void __wrap_disk_mark_remove(const char *disk);
void __wrap_disk_write_back(const char *disk);

int __wrap_open64(const char *name, int flags, ...)
{
	if (strcmp(name, "/dev/ublkc12") == 0)
		driver->opener = getpid();
	return __real_open64(g_str_has_prefix(name, "/dev/ublk") ? "/dev/null" : name, flags);
}

int __wrap_command_ring_init(struct command_ring *cr, unsigned flags)
{
	*cr = (struct command_ring){ 0 };
	return 0;
}

/* Its descriptors are the numbers of others. */
void __wrap_command_ring_exit(struct command_ring *cr)
{
}

static int add_device(char *payload)
{
	memcpy(&driver->device, payload, sizeof(driver->device));
	driver->device.dev_id = ID;
	memcpy(payload, &driver->device, sizeof(driver->device));
	show_device();
	driver->adds++;
	return 0;
}

static int play_driver(uint32_t op, const struct ublk_ctrl_cmd *cmd)
{
	char *payload = (char *)(uintptr_t)cmd->addr + cmd->dev_path_len;
	const uint64_t features = UBLK_IOCTL_ENCODE;

	switch (op) {
	case UBLK_GET_FEATURES:
		memcpy(payload, &features, sizeof(features));
		return 0;
	case UBLK_ADD_DEV:
		return add_device(payload);
	case UBLK_GET_DEV_INFO2:
		memcpy(payload, &driver->device, sizeof(driver->device));
		return driver->is_there ? 0 : -ENODEV;
	case UBLK_START_DEV:
		driver->started_pid = cmd->data[0];
		return 0;
	case UBLK_STOP_DEV:
		return 0;
	case UBLK_DEL_DEV_ASYNC:
		if (driver->delete_res < 0)
			return driver->delete_res;
		g_rmdir(shown);
		driver->is_there = false;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

int __wrap_command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
			    size_t cmd_bytes, unsigned limit_s)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	int res;

	if (op == UBLK_DEL_DEV_ASYNC)
		driver->is_deleting = true;
	while (op == UBLK_DEL_DEV_ASYNC && driver->delete_waits)
		g_usleep(1000);
	pthread_mutex_lock(&lock);
	res = play_driver(op, cmd);
	pthread_mutex_unlock(&lock);
	return res;
}

int __wrap_disk_mark_write(const char *disk, const char *name, bool no_probe, GError **err)
{
	g_assert_cmpstr(disk, ==, "/dev/ublkb12");
	g_assert_null(name);
	driver->is_hidden = no_probe;
	return 0;
}

void __wrap_disk_mark_remove(const char *disk)
{
	driver->is_hidden = false;
}

void __wrap_disk_write_back(const char *disk)
{
}

/* ---- the keeper ---- */

static int gifts_fd;
static pid_t keeper;

static void start_keeper(void)
{
	int fds[2];

	memset(driver, 0, sizeof(*driver));
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), ==, 0);
	keeper = fork();
	if (keeper == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		dup2(fds[1], STDIN_FILENO);
		close(fds[1]);
		_exit(keeper_main());
	}
	close(fds[1]);
	gifts_fd = fds[0];
}

/* It ends with its server's sockets. */
static void end_keeper(void)
{
	int status;

	close(gifts_fd);
	g_assert_cmpint(waitpid(keeper, &status, 0), ==, keeper);
	g_assert_cmpint(status, ==, 0);
}

static void seal(void)
{
	const struct keeper_gift gift = { .kind = KEEPER_SEAL };

	g_assert_cmpint(keeper_send(gifts_fd, &gift, sizeof(gift), -1), ==, 0);
}

/* The socket of a handle, or -errno. */
static int give(enum keeper_gift_kind kind, int fd)
{
	const struct keeper_gift gift = {
		.kind = kind,
		.seed = { .driver = TRANSPORT_UBLK, .server_pid = getpid(), .id = ID },
	};
	struct keeper_reply reply;
	int sock;

	g_assert_cmpint(keeper_send(gifts_fd, &gift, sizeof(gift), fd), ==, 0);
	g_assert_cmpint(keeper_receive(gifts_fd, &reply, sizeof(reply), &sock), ==, 0);
	return reply.res ?: sock;
}

/* By another process, as ubdctl is. */
static int order(void)
{
	const struct keeper_order order = {
		.driver = TRANSPORT_UBLK,
		.ways = { DATA_COPY },
		.info = { .id = ID, .queues = 2, .depth = 64 },
		.identity.uuid = "0123456789abcdef",
	};
	int pair[2], fd;
	char byte;
	pid_t pid;

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
	pid = fork();
	if (pid == 0)
		_exit(keeper_send(pair[1], "x", 1, keeper_order_new(&order, NULL)) < 0);
	g_assert_cmpint(keeper_receive(pair[0], &byte, 1, &fd), ==, 0);
	waitpid(pid, NULL, 0);
	close(pair[0]);
	close(pair[1]);
	return fd;
}

static int give_and_close(enum keeper_gift_kind kind, int fd)
{
	int res = give(kind, fd);

	if (fd >= 0)
		close(fd);
	return res;
}

static void send_request(int sock, enum keeper_op op)
{
	const struct keeper_request request = { .op = op };

	g_assert_cmpint(keeper_send(sock, &request, sizeof(request), -1), ==, 0);
}

/* @ret_fd may be NULL. */
static int receive_answer(int sock, int *ret_fd)
{
	struct keeper_reply reply;
	int fd;

	g_assert_cmpint(keeper_receive(sock, &reply, sizeof(reply), &fd), ==, 0);
	if (ret_fd)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return reply.res;
}

static int ask(int sock, enum keeper_op op, int *ret_fd)
{
	send_request(sock, op);
	return receive_answer(sock, ret_fd);
}

static int have_device_added(void)
{
	int sock;

	seal();
	sock = give_and_close(KEEPER_ORDER, order());
	g_assert_cmpint(sock, >=, 0);
	return sock;
}

/* ---- tests ---- */

static void test_ordered_device_is_added(void)
{
	int sock, fd;

	start_keeper();
	sock = have_device_added();
	g_assert_cmpuint(driver->adds, ==, 1);
	g_assert_cmpuint(driver->device.nr_hw_queues, ==, 2);
	g_assert_cmpmem(&driver->device.server_flags, 8, "01234567", 8);
	g_assert_false(driver->device.flags & UBLK_RECOVERY);
	g_assert_true(driver->is_hidden);
	g_assert_cmpint(ask(sock, KEEPER_OPEN_SERVER_FILE, &fd), ==, 0);
	g_assert_cmpint(fd, >=, 0);
	close(fd);
	/* The driver only believes in the process that has opened the file. */
	g_assert_cmpint(driver->opener, ==, keeper);
	g_assert_cmpint(ask(sock, KEEPER_START, NULL), ==, 0);
	g_assert_cmpuint(driver->started_pid, ==, keeper);
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, 0);
	g_assert_false(driver->is_there);
	g_assert_false(driver->is_hidden);
	/* Its number may be that of another's by now. */
	show_device();
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, -ENODEV);
	close(sock);
	end_keeper();
	g_assert_true(driver->is_there);
}

static void test_added_device_ends_with_its_server(void)
{
	int sock;

	start_keeper();
	sock = have_device_added();
	g_assert_true(driver->is_there);
	close(sock);
	end_keeper();
	g_assert_false(driver->is_there);
	g_assert_false(driver->is_hidden);
}

/*
 * Somebody has deleted it, and its number is that of a later one, from which it does not differ in
 * anything that a server could choose.
 */
static void test_another_device_of_the_number_stays(void)
{
	int sock;

	start_keeper();
	sock = have_device_added();
	show_device();
	g_assert_cmpint(ask(sock, KEEPER_START, NULL), ==, -ENODEV);
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, -ENODEV);
	close(sock);
	end_keeper();
	g_assert_true(driver->is_there);
	g_assert_cmpuint(driver->started_pid, ==, 0);
}

/* Its number may be another's long before the command returns. */
static void test_nothing_is_done_while_it_is_deleted(void)
{
	int sock, other;

	start_keeper();
	sock = have_device_added();
	g_assert_cmpint(ask(sock, KEEPER_CLONE, &other), ==, 0);
	driver->delete_waits = true;
	send_request(sock, KEEPER_DELETE);
	while (!driver->is_deleting)
		g_usleep(1000);
	g_assert_cmpint(ask(other, KEEPER_START, NULL), ==, -ENODEV);
	g_assert_cmpint(ask(other, KEEPER_DELETE, NULL), ==, -ENODEV);
	driver->delete_waits = false;
	g_assert_cmpint(receive_answer(sock, NULL), ==, 0);
	g_assert_cmpuint(driver->started_pid, ==, 0);
	close(other);
	close(sock);
	end_keeper();
}

static void test_device_that_is_not_deleted_is_kept(void)
{
	int sock;

	start_keeper();
	sock = have_device_added();
	driver->delete_res = -ETIMEDOUT;
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, -ETIMEDOUT);
	g_assert_cmpint(ask(sock, KEEPER_START, NULL), ==, 0);
	/* Somebody else has done it. */
	driver->delete_res = -ENODEV;
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, -ENODEV);
	driver->delete_res = 0;
	g_assert_cmpint(ask(sock, KEEPER_DELETE, NULL), ==, -ENODEV);
	close(sock);
	end_keeper();
	g_assert_true(driver->is_there);
}

/* What the server does before it looks at an image. */
static void test_gifts_are_taken_until_it_is_sealed(void)
{
	int sock;

	start_keeper();
	show_device();
	g_assert_cmpint(give_and_close(KEEPER_ORDER, order()), ==, -EPERM);
	sock = give(KEEPER_GIVE, -1);
	g_assert_cmpint(sock, >=, 0);
	/* The server has opened that itself. */
	g_assert_cmpint(ask(sock, KEEPER_OPEN_SERVER_FILE, NULL), ==, -EINVAL);
	seal();
	g_assert_cmpint(give(KEEPER_GIVE, -1), ==, -EPERM);
	close(sock);
	end_keeper();
	/* It is not the keeper's. */
	g_assert_true(driver->is_there);
}

static void test_no_order_no_device(void)
{
	const struct keeper_order own = {
		.driver = TRANSPORT_UBLK,
		.ways = { DATA_COPY },
		.info = { .id = ID, .queues = 2, .depth = 64 },
	};
	int sock, used;

	start_keeper();
	sock = have_device_added();
	g_assert_cmpint(give(KEEPER_ORDER, -1), ==, -EPERM);
	g_assert_cmpint(give(KEEPER_ORDER, STDERR_FILENO), ==, -EPERM);
	/* The server's own, and what the keeper has made. */
	g_assert_cmpint(give_and_close(KEEPER_ORDER, keeper_order_new(&own, NULL)), ==, -EPERM);
	g_assert_cmpint(give(KEEPER_ORDER, sock), ==, -EPERM);
	g_assert_cmpint(give(KEEPER_ORDER, gifts_fd), ==, -EPERM);
	/* Once. */
	used = order();
	close(give(KEEPER_ORDER, used));
	g_assert_cmpint(give_and_close(KEEPER_ORDER, used), ==, -EPERM);
	g_assert_cmpuint(driver->adds, ==, 2);
	close(sock);
	end_keeper();
}

int main(int argc, char **argv)
{
	g_autofree char *folder = g_dir_make_tmp("control-keeper-XXXXXX", NULL);
	int ret;

	ublk_sysfs_folder = folder;
	shown = g_build_filename(folder, "ublkc12", NULL);
	driver = mmap(NULL, sizeof(*driver), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	g_assert_true(driver != MAP_FAILED);
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/keeper/ordered-device-is-added", test_ordered_device_is_added);
	g_test_add_func("/control/keeper/added-device-ends-with-its-server",
			test_added_device_ends_with_its_server);
	g_test_add_func("/control/keeper/another-device-of-the-number-stays",
			test_another_device_of_the_number_stays);
	g_test_add_func("/control/keeper/nothing-is-done-while-it-is-deleted",
			test_nothing_is_done_while_it_is_deleted);
	g_test_add_func("/control/keeper/device-that-is-not-deleted-is-kept",
			test_device_that_is_not_deleted_is_kept);
	g_test_add_func("/control/keeper/gifts-are-taken-until-it-is-sealed",
			test_gifts_are_taken_until_it_is_sealed);
	g_test_add_func("/control/keeper/no-order-no-device", test_no_order_no_device);
	ret = g_test_run();
	g_rmdir(shown);
	g_rmdir(folder);
	g_free(shown);
	return ret;
}
