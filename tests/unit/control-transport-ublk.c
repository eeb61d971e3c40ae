// SPDX-License-Identifier: GPL-2.0-or-later
/* What the types of the seam become in commands to ublk, and back. The driver is played here. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command_ring.h"
#include "transport.h"
#include "ublk_abi.h"
#include "ublk_command.h"

/* ---- the clock: sleeping takes no time ---- */

static gint64 slept_us;

gint64 __wrap_g_get_monotonic_time(void);
gint64 __real_g_get_monotonic_time(void);
void __wrap_g_usleep(gulong us);

gint64 __wrap_g_get_monotonic_time(void)
{
	return __real_g_get_monotonic_time() + slept_us;
}

void __wrap_g_usleep(gulong us)
{
	slept_us += us;
}

/* ---- udev, which gives a node to its owner ---- */

static gint64 given_after_us; /* -1: never */

int __wrap_eaccess(const char *name, int mode);

int __wrap_eaccess(const char *name, int mode)
{
	g_assert_cmpstr(name, ==, "/dev/ublkc12");
	if (given_after_us >= 0 && slept_us >= given_after_us)
		return 0;
	errno = EACCES;
	return -1;
}

/* ---- the driver ---- */

static uint64_t features;
static uint64_t started_pid;
static struct ublk_dev_info device;
static struct ublk_params params;
static bool is_privileged, hangs, is_open, is_deleted, can_quiesce, answers_late;
static unsigned adds, stops, recoveries, write_backs, last_limit_s;
static char path[64]; /* that the last command named */
static char *shown;   /* in sysfs */
static bool is_marked;
/* When another device gets the number. */
static bool replaced_by_write_back, replaced_by_delete;

int __wrap_open64(const char *name, int flags, ...);
int __real_open64(const char *name, int flags, ...);
int __wrap_command_ring_init(struct command_ring *cr, unsigned flags);
int __wrap_command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *cmd,
			    size_t cmd_bytes, unsigned limit_s);

bool __wrap_command_ring_is_stuck(struct command_ring *cr);
void __wrap_disk_write_back(const char *disk);
void __wrap_disk_mark_remove(const char *disk);

int __wrap_open64(const char *name, int flags, ...)
{
	return __real_open64(g_str_has_prefix(name, "/dev/ublk") ? "/dev/null" : name, flags);
}

bool __wrap_command_ring_is_stuck(struct command_ring *cr)
{
	return cr->stuck && !answers_late;
}

/* Another device in place of what has had the number before. */
static void show_device(void)
{
	g_autofree char *next = g_strconcat(shown, "-next", NULL);

	g_assert_cmpint(g_mkdir(next, 0700), ==, 0);
	g_assert_cmpint(g_rename(next, shown), ==, 0);
	is_deleted = false;
}

void __wrap_disk_write_back(const char *disk)
{
	write_backs++;
	if (replaced_by_write_back)
		show_device();
}

void __wrap_disk_mark_remove(const char *disk)
{
	is_marked = false;
}

int __wrap_command_ring_init(struct command_ring *cr, unsigned flags)
{
	*cr = (struct command_ring){ 0 };
	return 0;
}

/* @info: a struct ublk_dev_info, at any address. */
static int add_device(void *info)
{
	struct ublk_dev_info wanted;

	memcpy(&wanted, info, sizeof(wanted));
	adds++;
	if (!is_privileged && !(wanted.flags & UBLK_UNPRIVILEGED))
		return -EPERM;
	device = wanted;
	device.dev_id = 12;
	device.nr_hw_queues = 1;
	memcpy(info, &device, sizeof(device));
	return 0;
}

/* It waits for those who have the nodes open. */
static int delete_device(struct command_ring *cr)
{
	g_assert_cmpuint(last_limit_s, <, 60);
	if (is_open) {
		cr->stuck = true;
		return -ETIMEDOUT;
	}
	is_deleted = true;
	return 0;
}

int __wrap_command_ring_run(struct command_ring *cr, int fd, uint32_t op, const void *arg,
			    size_t cmd_bytes, unsigned limit_s)
{
	const struct ublk_ctrl_cmd *cmd = arg;
	char *memory = (char *)(uintptr_t)cmd->addr, *payload = memory + cmd->dev_path_len;
	uint32_t len;

	g_assert_cmpuint(cmd_bytes, ==, 32);
	g_assert_cmpuint(cmd->queue_id, ==, 0xffff);
	last_limit_s = limit_s;
	g_strlcpy(path, cmd->dev_path_len ? memory : "", sizeof(path));
	if (hangs) {
		cr->stuck = true;
		return -ETIMEDOUT;
	}
	switch (op) {
	case UBLK_GET_FEATURES:
		memcpy(payload, &features, sizeof(features));
		return 0;
	case UBLK_ADD_DEV:
		return add_device(payload);
	case UBLK_START_RECOVERY:
		recoveries++;
		return device.state == UBLK_S_LIVE ? -EBUSY : 0;
	case UBLK_GET_DEV_INFO2:
		memcpy(payload, &device, sizeof(device));
		return is_deleted ? -ENODEV : 0;
	case UBLK_DEL_DEV_ASYNC:
		if (device.flags & UBLK_UNPRIVILEGED)
			return -EINVAL;
		/* The next disk of the number may have been marked by now. */
		g_assert_false(is_marked);
		is_deleted = true;
		if (replaced_by_delete)
			show_device();
		return 0;
	case UBLK_STOP_DEV:
		/* Its disk is still there. */
		g_assert_true(is_marked);
		stops++;
		return 0;
	case UBLK_DEL_DEV:
		return delete_device(cr);
	case UBLK_START_DEV:
		started_pid = cmd->data[0];
		return -EOPNOTSUPP;
	case UBLK_QUIESCE_DEV:
		return can_quiesce ? 0 : -EBUSY;
	case UBLK_SET_PARAMS:
		memcpy(&params, payload, sizeof(params));
		return 0;
	case UBLK_GET_PARAMS:
		memcpy(&len, payload + offsetof(struct ublk_params, len), sizeof(len));
		g_assert_cmpuint(len, ==, sizeof(params));
		memcpy(payload, &params, sizeof(params));
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static volatile sig_atomic_t signalled;
static union sigval signal_value;
static volatile int ignored_signals;

/* The process that is the next server at once; 0: none is. */
static volatile pid_t successor;

/* This process is the server, too, and leaves. */
static void note_signal(int number, siginfo_t *info, void *context)
{
	signalled = true;
	g_assert_cmpint(info->si_code, ==, SI_QUEUE);
	signal_value = info->si_value;
	if (ignored_signals && ignored_signals--)
		return;
	if (successor)
		device.ublksrv_pid = successor;
	else
		device.state = UBLK_S_QUIESCED;
	successor = 0;
}

static struct transport_info wish(void)
{
	return (struct transport_info){
		.id = TRANSPORT_ANY_ID,
		.queues = 2,
		.depth = 64,
		.max_io_bytes = 1 << 20,
		.data = DATA_COPY,
	};
}

static void play(uint64_t offered)
{
	features = UBLK_IOCTL_ENCODE | offered;
	is_privileged = true;
	hangs = is_open = is_deleted = false;
	replaced_by_write_back = replaced_by_delete = false;
	is_marked = true;
	adds = stops = 0;
}

/* ---- tests ---- */

static void test_numbers_are_the_kernels(void)
{
	g_assert_cmphex(UBLK_ADD_DEV, ==, 0xc0207504);
	g_assert_cmphex(UBLK_GET_DEV_INFO2, ==, 0x80207512);
	g_assert_cmphex(UBLK_QUIESCE_DEV, ==, 0xc0207516);
	g_assert_cmpuint(sizeof(struct ublk_dev_info), ==, 64);
	g_assert_cmpuint(G_STRUCT_OFFSET(struct ublk_params, discard), ==, 40);
	g_assert_cmpuint(G_STRUCT_OFFSET(struct ublk_params, devt), ==, 60);
}

static void test_flags_of_a_new_device(void)
{
	static const struct {
		enum data_way data;
		enum recovery recovery;
		bool batches;
		uint64_t flags;
	} cases[] = {
		{ DATA_COPY, RECOVERY_NONE, false, 0 },
		/* In batches, requests would fail when the server leaves. */
		{ DATA_USER_COPY, RECOVERY_FAIL, true,
		  UBLK_USER_COPY | UBLK_RECOVERY | UBLK_CAN_QUIESCE },
		{ DATA_ZERO_COPY, RECOVERY_REISSUE, true,
		  UBLK_USER_COPY | UBLK_AUTO_BUF_REG | UBLK_RECOVERY | UBLK_REISSUE |
			  UBLK_BATCHES },
		{ DATA_COPY, RECOVERY_FAIL_IO, true, UBLK_RECOVERY | UBLK_FAIL_IO | UBLK_BATCHES },
	};

	play(UINT64_MAX);
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		const struct identity identity = { .uuid = "0123456789abcdef" };
		struct transport_info info = wish();
		struct transport *transport;
		struct identity back;

		info.data = cases[i].data;
		info.recovery = cases[i].recovery;
		info.batches = cases[i].batches;
		transport = transport_ublk.add(&info, &identity, NULL);
		g_assert_cmphex(device.flags, ==, cases[i].flags | UBLK_IOCTL_ENCODE);
		g_assert_cmpstr(transport->path, ==, "/dev/ublkb12");
		g_assert_cmpuint(info.queues, ==, 1);
		g_assert_cmpint(info.batches, ==, !!(cases[i].flags & UBLK_BATCHES));
		g_assert_cmpint(transport_ublk.get_identity(transport, &back), ==, 0);
		g_assert_cmpmem(back.uuid, 8, "01234567", 8);
		transport_free(transport);
	}
}

static void assert_not_added(struct transport_info info, const char *why)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(transport_ublk.add(&info, NULL, &err));
	g_assert_nonnull(strstr(err->message, why));
}

/* What the kernel does not offer is refused by name, whatever its version. */
static void test_what_is_missing_is_named(void)
{
	struct transport_info info = wish();

	play(UBLK_RECOVERY);
	info.recovery = RECOVERY_FAIL_IO;
	assert_not_added(info, "ublk does not have this mode of recovery");
	info = wish();
	info.no_partition_scan = true;
	assert_not_added(info, "ublk does not have disks without partition scan");
	g_assert_cmpuint(adds, ==, 0);
	features = 0;
	assert_not_added(wish(), "too old");
}

/* And its commands name the node whose permissions decide. */
static void test_unprivileged_users_get_such_devices(void)
{
	struct transport_info info = wish();
	struct transport *transport;

	play(0);
	is_privileged = false;
	given_after_us = slept_us + G_USEC_PER_SEC;
	transport = transport_ublk.add(&info, NULL, NULL);
	g_assert_cmpuint(adds, ==, 2);
	g_assert_cmpint(slept_us, >=, given_after_us);
	g_assert_true(info.unprivileged);
	transport_ublk.stop(transport);
	g_assert_cmpstr(path, ==, "/dev/ublkc12");
	transport_free(transport);
	is_privileged = true;
	transport = transport_ublk.add(&info, NULL, NULL);
	transport_ublk.stop(transport);
	g_assert_cmpstr(path, ==, "");
	transport_free(transport);
}

/* The command that does not wait is refused for them. */
static void test_unprivileged_devices_are_deleted(void)
{
	struct transport_info info = wish();
	struct transport *transport;

	for (int opened = 0; opened < 2; opened++) {
		play(0);
		is_privileged = false;
		given_after_us = 0;
		transport = transport_ublk.add(&info, NULL, NULL);
		is_open = opened;
		g_assert_cmpint(transport_ublk.delete(transport), ==, 0);
		g_assert_true(is_deleted != is_open);
		transport_free(transport);
	}
}

/* The device is there, so another attempt to add one would leave it behind. */
static void test_owners_wait_only_so_long(void)
{
	struct transport_info info = wish();
	struct transport *transport;

	play(0);
	is_privileged = false;
	given_after_us = -1;
	transport = transport_ublk.add(&info, NULL, NULL);
	g_assert_nonnull(transport);
	transport_free(transport);
}

/* The driver would forget it, and tell nobody. */
static void test_recovery_takes_privileges(void)
{
	struct transport_info info = wish();

	play(UINT64_MAX);
	is_privileged = false;
	info.recovery = RECOVERY_REISSUE;
	assert_not_added(info, "not permitted");
	g_assert_cmpuint(adds, ==, 1);
}

/* Such a server would get no data, and write what is left in its memory. */
static void test_other_ways_of_data_are_not_taken_over(void)
{
	struct transport_info info;
	struct transport *transport;

	play(UINT64_MAX);
	device = (struct ublk_dev_info){
		.dev_id = 12,
		.state = UBLK_S_QUIESCED,
		.flags = UBLK_RECOVERY | 1 << 0, /* UBLK_F_SUPPORT_ZERO_COPY */
	};
	recoveries = 0;
	transport = transport_ublk.open(12, &info, NULL);
	g_assert_cmpint(transport_take_over(transport), ==, -EOPNOTSUPP);
	g_assert_cmpuint(recoveries, ==, 0);
	device.flags = UBLK_RECOVERY;
	g_assert_cmpint(transport_take_over(transport), ==, 0);
	g_assert_cmpuint(recoveries, ==, 1);
	transport_free(transport);
}

static void test_kernels_that_never_answer(void)
{
	play(0);
	hangs = true;
	assert_not_added(wish(), "does not answer");
	g_assert_cmpuint(last_limit_s, >, 0);
	hangs = false;
	/* The ring that is stuck is not used again. */
	assert_not_added((struct transport_info){ .no_partition_scan = true }, "partition scan");
}

/* What ends the device may wait for a command that is never answered. */
static void test_nothing_waits_for_a_start_that_hangs(void)
{
	struct transport_info info = wish();
	struct transport *server, *starter;

	play(0);
	server = transport_ublk.add(&info, NULL, NULL);
	g_assert_cmpint(transport_ublk.stop(server), ==, 0);
	g_assert_cmpuint(last_limit_s, ==, COMMAND_NO_LIMIT);
	starter = transport_ublk.clone(server, NULL);
	hangs = true;
	g_assert_cmpint(transport_ublk.start(starter), ==, -ETIMEDOUT);
	transport_free(starter);
	hangs = false;
	transport_ublk.stop(server);
	g_assert_cmpuint(last_limit_s, !=, COMMAND_NO_LIMIT);
	answers_late = true;
	transport_ublk.stop(server);
	g_assert_cmpuint(last_limit_s, ==, COMMAND_NO_LIMIT);
	answers_late = false;
	transport_free(server);
}

/* The server has stopped answering when it deletes the device, so its users' data has no way. */
static void test_server_does_not_wait_for_itself(void)
{
	struct transport_info info;
	struct transport *transport;
	g_autoptr(GError) err = NULL;

	for (int serves = 0; serves < 2; serves++) {
		play(0);
		device = (struct ublk_dev_info){ .state = UBLK_S_LIVE, .flags = UBLK_RECOVERY };
		transport = transport_ublk.open(12, &info, NULL);
		if (serves)
			close(transport_ublk.open_server_file(transport, &err));
		write_backs = 0;
		g_assert_cmpint(transport_ublk.delete(transport), ==, 0);
		g_assert_true(is_deleted);
		g_assert_cmpuint(write_backs, ==, !serves);
		transport_free(transport);
	}
}

/* This process is its server; @node is open. */
static void play_live_device(int node)
{
	struct stat st;

	g_assert_cmpint(fstat(node, &st), ==, 0);
	params = (struct ublk_params){
		.devt = { .char_major = major(st.st_rdev), .char_minor = minor(st.st_rdev) },
	};
	device = (struct ublk_dev_info){ .state = UBLK_S_LIVE, .flags = UBLK_RECOVERY };
	device.ublksrv_pid = getpid();
}

/* What its users have written takes as long as its server likes. */
static void test_another_device_of_the_number_is_not_stopped(void)
{
	int (*const ends[])(struct transport *) = { transport_ublk.stop, transport_ublk.delete };

	for (unsigned i = 0; i < G_N_ELEMENTS(ends); i++) {
		struct transport_info info;
		struct transport *transport;

		play(0);
		device = (struct ublk_dev_info){ .state = UBLK_S_LIVE, .flags = UBLK_RECOVERY };
		replaced_by_write_back = true;
		transport = transport_ublk.open(12, &info, NULL);
		g_assert_cmpint(ends[i](transport), ==, -ENODEV);
		g_assert_cmpuint(stops, ==, 0);
		g_assert_false(is_deleted);
		transport_free(transport);
	}
}

/* And the mark that udev reads is removed before. */
static void test_another_device_of_the_number_is_not_waited_for(void)
{
	struct transport_info info;
	struct transport *transport;
	gint64 began = slept_us;

	play(0);
	device = (struct ublk_dev_info){ .state = UBLK_S_LIVE };
	replaced_by_delete = true;
	transport = transport_ublk.open(12, &info, NULL);
	g_assert_cmpint(transport_ublk.delete(transport), ==, 0);
	g_assert_cmpint(slept_us, ==, began);
	g_assert_false(is_marked);
	transport_free(transport);
}

/* The driver repeats what a server has told it, which may be another process's number here. */
static void test_servers_of_other_namespaces_are_not_mistaken(void)
{
	struct transport_info info;
	struct transport *transport;
	int node = open("/dev/full", O_RDWR | O_CLOEXEC);

	play(UINT64_MAX);
	play_live_device(node);
	can_quiesce = false;
	transport = transport_ublk.open(12, &info, NULL);
	g_assert_cmpint(info.server_pid, ==, getpid());
	/* This process has the number, but does not serve the device. */
	close(node);
	g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
	g_assert_cmpint(info.server_pid, ==, 0);
	g_assert_false(signalled);
	g_assert_cmpint(transport_quiesce(transport), ==, -ESRCH);
	g_assert_false(signalled);
	/* The driver keeps the number when the server has gone. */
	device.state = UBLK_S_QUIESCED;
	g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
	g_assert_cmpint(info.server_pid, ==, -1);
	device.state = UBLK_S_LIVE;
	device.ublksrv_pid = -1;
	g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
	g_assert_cmpint(info.server_pid, ==, -1);
	transport_free(transport);
}

/* A process that has this one's files open. */
static pid_t start_process(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

/* Another server has taken the device over before this process could see that it was left. */
static void test_the_next_server_is_not_waited_for(void)
{
	struct transport_info info;
	struct transport *transport;
	int node = open("/dev/full", O_RDWR | O_CLOEXEC);
	pid_t pid = start_process();

	for (int told = 0; told < 2; told++) {
		play(UINT64_MAX);
		play_live_device(node);
		can_quiesce = told;
		successor = pid;
		transport = transport_ublk.open(12, &info, NULL);
		g_assert_cmpint(transport_quiesce(transport), ==, 0);
		g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
		g_assert_cmpint(info.server_pid, ==, pid);
		transport_free(transport);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	signalled = false;
	close(node);
}

/* QUIESCE_DEV succeeds, though the server holds all of its requests and so is not told. */
static void test_servers_that_were_not_told_are_signalled(void)
{
	struct transport_info info;
	struct transport *transport;
	int node = open("/dev/full", O_RDWR | O_CLOEXEC);

	for (int refuses = 0; refuses < 2; refuses++) {
		play(UINT64_MAX);
		play_live_device(node);
		transport = transport_ublk.open(12, &info, NULL);
		signalled = false;
		can_quiesce = !refuses;
		g_assert_cmpint(transport_quiesce(transport), ==, 0);
		g_assert_true(signalled);
		g_assert_cmpuint(transport_leave_of(signal_value).id, ==, 12);
		g_assert_true(transport_leave_of(signal_value).when_idle == !refuses);
		transport_free(transport);
	}
	signalled = false;
	close(node);
}

/* A process with several devices gets one of the signals that come together. */
static void test_signals_that_were_lost_are_repeated(void)
{
	struct transport_info info;
	struct transport *transport;
	int node = open("/dev/full", O_RDWR | O_CLOEXEC);

	for (int told = 0; told < 2; told++) {
		play(UINT64_MAX);
		play_live_device(node);
		can_quiesce = told;
		ignored_signals = 3;
		transport = transport_ublk.open(12, &info, NULL);
		g_assert_cmpint(transport_quiesce(transport), ==, 0);
		g_assert_cmpint(ignored_signals, ==, 0);
		g_assert_cmpint(device.state, ==, UBLK_S_QUIESCED);
		transport_free(transport);
	}
	signalled = false;
	close(node);
}

/* Other versions send, and understand, only how. */
static void test_signals_are_for_a_device(void)
{
	const struct transport_leave first = { .id = 0, .when_idle = true }, all = {
		.id = TRANSPORT_ANY_ID,
	};
	union sigval old = { 0 };
	struct transport_leave leave;

	g_assert_cmpint(transport_leave_value(&first).sival_int, ==, 1);
	leave = transport_leave_of(transport_leave_value(&first));
	g_assert_cmpuint(leave.id, ==, 0);
	g_assert_true(leave.when_idle);
	leave = transport_leave_of(transport_leave_value(&all));
	g_assert_cmpuint(leave.id, ==, TRANSPORT_ANY_ID);
	g_assert_false(leave.when_idle);
	old.sival_int = 1;
	leave = transport_leave_of(old);
	g_assert_cmpuint(leave.id, ==, TRANSPORT_ANY_ID);
	g_assert_true(leave.when_idle);
}

/*
 * The driver believes that a server is the process which has opened its file, and the keeper has
 * done that for it.
 */
static void test_server_of_a_device_that_its_keeper_has_added(void)
{
	struct transport_info info = wish();
	struct transport *transport, *clone;
	pid_t keeper;
	int node;

	play(UINT64_MAX);
	transport = transport_ublk.add(&info, NULL, NULL);
	/* As far as it matters here, a keeper: the server's child, which does not have the file. */
	keeper = start_process();
	node = open("/dev/full", O_RDWR | O_CLOEXEC);
	play_live_device(node);
	device.ublksrv_pid = keeper;
	g_assert_cmpint(transport_ublk.keep(transport, getpid()), ==, 0);
	g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
	g_assert_cmpint(info.server_pid, ==, getpid());
	/* It need not be looked for again. */
	g_assert_cmpint(ublk_device_of(transport)->server_fd, ==, node);
	g_assert_true(transport_ublk.is_given(transport));
	/* A later device is not, which a server could make look the same. */
	show_device();
	g_assert_false(transport_ublk.is_given(transport));
	/* The server is another process than this one. */
	g_assert_cmpint(transport_ublk.keep(transport, keeper), ==, 0);
	close(transport_ublk.open_server_file(transport, NULL));
	clone = transport_ublk.clone(transport, NULL);
	transport_ublk.start(clone);
	g_assert_cmpuint(started_pid, ==, getpid());
	transport_free(clone);
	kill(keeper, SIGKILL);
	waitpid(keeper, NULL, 0);
	/* Nobody has the file. */
	close(node);
	g_assert_cmpint(transport_ublk.get_info(transport, &info), ==, 0);
	g_assert_cmpint(info.server_pid, ==, 0);
	transport_free(transport);
}

static void test_parameters_come_back(void)
{
	const struct device_params wanted = {
		.volatile_cache = true,
		.fua = true,
		.logical_block_size = 512,
		.physical_block_size = 4096,
		.io_min = 4096,
		.io_opt = 65536,
		.max_io_sectors = 256,
		.discard_granularity = 65536,
		.max_discard_sectors = 100,
		.max_write_zeroes_sectors = 200,
		.dev_sectors = 1ull << 40,
	};
	struct transport_info info = wish();
	struct device_params back, rounded = wanted;
	struct transport *transport;

	play(0);
	transport = transport_ublk.add(&info, NULL, NULL);
	g_assert_cmpint(transport_ublk.set_params(transport, &wanted), ==, 0);
	g_assert_cmpuint(params.discard.max_discard_segments, ==, 1);
	g_assert_cmpint(transport_ublk.get_params(transport, &back), ==, 0);
	g_assert_cmpmem(&back, sizeof(back), &wanted, sizeof(wanted));
	/* There is no "none". */
	rounded.io_opt = 0;
	g_assert_cmpint(transport_ublk.set_params(transport, &rounded), ==, 0);
	g_assert_cmpint(transport_ublk.get_params(transport, &back), ==, 0);
	transport_ublk.round_params(&rounded);
	g_assert_cmpmem(&back, sizeof(back), &rounded, sizeof(rounded));
	params.basic.chunk_sectors = 8;
	g_assert_cmpint(transport_ublk.get_params(transport, &back), ==, 0);
	g_assert_true(back.has_others);
	transport_free(transport);
}

static void test_names_tell_the_driver(void)
{
	uint32_t id;

	g_assert_true(transport_by_name("/dev/ublkb12", &id) == &transport_ublk);
	g_assert_cmpuint(id, ==, 12);
	g_assert_true(transport_by_name("ubdb3", &id) == &transport_ubd);
	g_assert_null(transport_by_name("/dev/ublkb", &id));
	g_assert_null(transport_by_name("/dev/ublkb1p1", &id));
	g_assert_null(transport_by_name("/dev/sda", &id));
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_sigaction = note_signal, .sa_flags = SA_SIGINFO };
	g_autofree char *folder = g_dir_make_tmp("control-transport-ublk-XXXXXX", NULL);
	int ret;

	ublk_sysfs_folder = folder;
	shown = g_build_filename(folder, "ublkc12", NULL);
	show_device();
	g_test_init(&argc, &argv, NULL);
	sigaction(TRANSPORT_LEAVE_SIGNAL, &action, NULL);
	/* First, while no command of the device has been left without an answer. */
	g_test_add_func("/control-ublk/nothing-waits-for-a-start-that-hangs",
			test_nothing_waits_for_a_start_that_hangs);
	g_test_add_func("/control-ublk/numbers-are-the-kernels", test_numbers_are_the_kernels);
	g_test_add_func("/control-ublk/flags-of-a-new-device", test_flags_of_a_new_device);
	g_test_add_func("/control-ublk/what-is-missing-is-named", test_what_is_missing_is_named);
	g_test_add_func("/control-ublk/unprivileged-users-get-such-devices",
			test_unprivileged_users_get_such_devices);
	g_test_add_func("/control-ublk/unprivileged-devices-are-deleted",
			test_unprivileged_devices_are_deleted);
	g_test_add_func("/control-ublk/owners-wait-only-so-long", test_owners_wait_only_so_long);
	g_test_add_func("/control-ublk/recovery-takes-privileges", test_recovery_takes_privileges);
	g_test_add_func("/control-ublk/other-ways-of-data-are-not-taken-over",
			test_other_ways_of_data_are_not_taken_over);
	g_test_add_func("/control-ublk/kernels-that-never-answer", test_kernels_that_never_answer);
	g_test_add_func("/control-ublk/servers-of-other-namespaces-are-not-mistaken",
			test_servers_of_other_namespaces_are_not_mistaken);
	g_test_add_func("/control-ublk/servers-that-were-not-told-are-signalled",
			test_servers_that_were_not_told_are_signalled);
	g_test_add_func("/control-ublk/signals-that-were-lost-are-repeated",
			test_signals_that_were_lost_are_repeated);
	g_test_add_func("/control-ublk/signals-are-for-a-device", test_signals_are_for_a_device);
	g_test_add_func("/control-ublk/server-of-a-device-that-its-keeper-has-added",
			test_server_of_a_device_that_its_keeper_has_added);
	g_test_add_func("/control-ublk/the-next-server-is-not-waited-for",
			test_the_next_server_is_not_waited_for);
	g_test_add_func("/control-ublk/another-device-of-the-number-is-not-stopped",
			test_another_device_of_the_number_is_not_stopped);
	g_test_add_func("/control-ublk/another-device-of-the-number-is-not-waited-for",
			test_another_device_of_the_number_is_not_waited_for);
	g_test_add_func("/control-ublk/server-does-not-wait-for-itself",
			test_server_does_not_wait_for_itself);
	g_test_add_func("/control-ublk/parameters-come-back", test_parameters_come_back);
	g_test_add_func("/control-ublk/names-tell-the-driver", test_names_tell_the_driver);
	ret = g_test_run();
	g_rmdir(shown);
	g_rmdir(folder);
	g_free(shown);
	return ret;
}
