// SPDX-License-Identifier: GPL-2.0-or-later
/* What may change while a device runs: its size; and how long a server may be silent. */
#include "lib.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEPT_SECTOR 16384

/* ---- size ---- */

static int update_size(int control_fd, uint64_t sectors)
{
	return control(control_fd, UBD_CMD_UPDATE_SIZE, &sectors, sizeof(sectors));
}

static uint64_t disk_bytes(int disk)
{
	uint64_t bytes;

	CHECK_EQ(ioctl(disk, BLKGETSIZE64, &bytes), 0);
	return bytes;
}

static void a_disk_grows_and_shrinks_while_it_is_open(void)
{
	struct server server;
	struct ubd_params params;
	uint8_t *data = aligned(4096);
	int disk, uevents;

	server_init(&server);
	server.memory = aligned(64 << 20);
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	CHECK_EQ(disk_bytes(disk), 16 << 20);
	CHECK_EQ(pwrite(disk, data, 4096, 32 << 20), -1);

	uevents = listen_to_uevents();
	CHECK_EQ(update_size(server.control, (64 << 20) / 512), 0);
	wait_for_uevent(uevents, "/ubdb0", "RESIZE=1");
	CHECK_EQ(disk_bytes(disk), 64 << 20);
	memset(data, 0x77, 4096);
	CHECK_EQ(pwrite(disk, data, 4096, 32 << 20), 4096);
	CHECK_EQ(server.memory[32 << 20], 0x77);
	CHECK_EQ(control(server.control, UBD_CMD_GET_PARAMS, &params, sizeof(params)), 0);
	CHECK_EQ(params.dev_sectors, (64 << 20) / 512);

	CHECK_EQ(update_size(server.control, (8 << 20) / 512), 0);
	CHECK_EQ(disk_bytes(disk), 8 << 20);
	CHECK_EQ(pread(disk, data, 4096, 8 << 20), 0);
	close(disk);
	close(uevents);
	server_delete(&server);
}

static void a_size_that_cannot_be_is_refused(void)
{
	struct server server;
	uint64_t sectors = 32768;
	int disk;

	server_init(&server);
	server.params.logical_block_size = 4096;
	server_add(&server);
	CHECK_EQ(update_size(server.control, 65536), -EINVAL); /* not started */
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	CHECK_EQ(update_size(server.control, 0), -EINVAL);
	CHECK_EQ(update_size(server.control, 65537), -EINVAL);
	CHECK_EQ(update_size(server.control, 1ull << 55), -EINVAL);
	CHECK_EQ(control(server.control, UBD_CMD_UPDATE_SIZE, &sectors, 4), -EINVAL);
	CHECK_EQ(control(server.control, UBD_CMD_UPDATE_SIZE, NULL, 8), -EFAULT);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	CHECK_EQ(disk_bytes(disk), 16 << 20);
	close(disk);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	CHECK_EQ(update_size(server.control, 65536), -ENODEV);
	server_delete(&server);
}

/* ---- silence ---- */

static void set_seconds(const char *parameter, unsigned int seconds)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/sys/module/ubd/parameters/%s", parameter);
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0);
	CHECK(dprintf(fd, "%u", seconds) > 0);
	close(fd);
}

static void set_timeout(unsigned int seconds)
{
	set_seconds("request_timeout", seconds);
}

static void check_parameter(const char *path, const char *wanted)
{
	char text[8] = "";
	int fd = open(path, O_RDONLY);

	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	CHECK(!strcmp(text, wanted));
	close(fd);
}

static void there_is_no_timeout_but_a_warning(void)
{
	check_parameter("/sys/module/ubd/parameters/request_timeout", "0\n");
	check_parameter("/sys/module/ubd/parameters/request_warning", "120\n");
}

static int *silent; /* the server keeps requests from KEPT_SECTOR on; shared memory */

static int be_silent(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (desc->start_sector >= KEPT_SECTOR && __atomic_load_n(silent, __ATOMIC_SEQ_CST))
		return SERVER_KEEP;
	return server_handle(server, desc, buffer);
}

static void init_silent(struct server *server, uint64_t flags)
{
	silent = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*silent = 1;
	server_init(server);
	server->handle = be_silent;
	server->info.flags = flags;
}

static void a_silent_server_counts_as_dead(void)
{
	struct server server;
	int disk;

	init_silent(&server, 0);
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDWR);
	set_timeout(2);
	CHECK(pread(disk, aligned(4096), 4096, KEPT_SECTOR * 512) < 0);
	CHECK_EQ(errno, EIO);
	close(disk);
	set_timeout(0);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, AGE);
	CHECK(!exists(block_node(server.info.dev_id)));
}

/* ---- silence about some requests, or of some devices ---- */

static void read_kept_in_vain(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDONLY);

	CHECK(pread(disk, aligned(4096), 4096, KEPT_SECTOR * 512) < 0);
}

/* The queue is deep and its storage slow: as long as something is answered all will be. */
static void a_server_that_makes_progress_is_not_timed_out(void)
{
	struct server server;
	int client, disk;

	init_silent(&server, 0);
	server.info.nr_hw_queues = 1;
	server_run(&server);
	client = spawn(read_kept_in_vain, &server.info.dev_id);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	set_timeout(3);
	for (double start = now(); now() - start < 8; usleep(100000))
		CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	/* Without progress it is. */
	check_exit(client, 0);
	set_timeout(0);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, AGE);
	close(disk);
}

static void run_silent(struct server *server, uint32_t timeout)
{
	init_silent(server, 0);
	server->params.request_timeout = timeout;
	server_run(server);
}

static void a_device_has_a_timeout_of_its_own(void)
{
	struct server hasty, patient, usual;
	int clients[3];

	run_silent(&hasty, 2);
	run_silent(&patient, UBD_NO_REQUEST_TIMEOUT);
	run_silent(&usual, 0);
	clients[0] = spawn(read_kept_in_vain, &hasty.info.dev_id);
	clients[1] = spawn(read_kept_in_vain, &patient.info.dev_id);
	clients[2] = spawn(read_kept_in_vain, &usual.info.dev_id);
	check_exit(clients[0], 0);
	WAIT_UNTIL(get_state(hasty.control) == UBD_S_DEV_STOPPED, AGE);
	CHECK_EQ(get_state(usual.control), UBD_S_DEV_LIVE);
	set_timeout(1);
	check_exit(clients[2], 0);
	sleep(2);
	CHECK_EQ(get_state(patient.control), UBD_S_DEV_LIVE);
	set_timeout(0);
	CHECK_EQ(control(patient.control, UBD_CMD_GET_PARAMS, &patient.params,
			 sizeof(patient.params)),
		 0);
	CHECK_EQ(patient.params.request_timeout, UBD_NO_REQUEST_TIMEOUT);
	close(patient.cdev);
	check_exit(clients[1], 0);
}

/* Of the log, from where @kmsg is. */
static int count_warnings(int kmsg)
{
	char record[4096];
	int nr = 0;

	for (;;) {
		ssize_t len = read(kmsg, record, sizeof(record) - 1);

		if (len < 0)
			break;
		record[len] = '\0';
		nr += strstr(record, "no answer from the server for 2 seconds") != NULL;
	}
	CHECK_EQ(errno, EAGAIN);
	return nr;
}

static void silence_without_a_timeout_is_in_the_log(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), client, disk;
	struct server server;

	CHECK(lseek(kmsg, 0, SEEK_END) >= 0);
	init_silent(&server, 0);
	server.info.nr_hw_queues = 1;
	server_run(&server);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	set_seconds("request_warning", 2);
	client = spawn(read_kept_in_vain, &server.info.dev_id);
	WAIT_UNTIL(count_warnings(kmsg) == 1, AGE);
	sleep(4);
	CHECK_EQ(count_warnings(kmsg), 0);
	/* An answer, and it is silent for another time. */
	for (double start = now(); now() - start < 2; usleep(100000))
		CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
	WAIT_UNTIL(count_warnings(kmsg) == 1, AGE);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	set_seconds("request_warning", 120);
	close(server.cdev);
	check_exit(client, 0);
	close(disk);
	close(kmsg);
}

static void answer_slowly(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDWR);

	for (int i = 0; i < 8; i++) {
		CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
		usleep(500000);
	}
}

/* It is the silence that must not last, not the time that there are requests. */
static void a_server_that_answers_is_not_timed_out(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	set_timeout(2);
	check_exit(spawn(answer_slowly, &server.info.dev_id), 0);
	set_timeout(0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

static void read_kept(void *arg)
{
	volatile int *live = arg;
	int disk;

	WAIT_UNTIL(*live, AGE);
	disk = open_disk(0, O_RDONLY);
	CHECK_EQ(pread(disk, aligned(4096), 4096, KEPT_SECTOR * 512), 4096);
}

/* The next server gets the request, and has its own time for it. */
static void time_without_a_server_does_not_count(void)
{
	struct server servers[2];
	int client, control_fd, *live;

	init_silent(&servers[0], UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE);
	/* Before there is a file of the server's that it would inherit. */
	live = &silent[1];
	client = spawn(read_kept, live);
	server_run(&servers[0]);
	set_timeout(2);
	*live = 1;
	control_fd = servers[0].control;
	WAIT_UNTIL(get_state(control_fd) == UBD_S_DEV_QUIESCED, AGE);
	close(servers[0].cdev);
	*silent = 0;
	sleep(5);

	server_init(&servers[1]);
	servers[1].memory = servers[0].memory;
	for (int i = 0; i < 2; i++)
		CHECK_EQ(munmap(servers[0].queues[i].descs, 4096), 0);
	server_recover(&servers[1], servers[0].info.dev_id);
	check_exit(client, 0);
	set_timeout(0);
	CHECK_EQ(get_state(control_fd), UBD_S_DEV_LIVE);
	close(control_fd);
	server_delete(&servers[1]);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a disk grows and shrinks while it is open",
		  a_disk_grows_and_shrinks_while_it_is_open },
		{ "a size that cannot be is refused", a_size_that_cannot_be_is_refused },
		{ "there is no timeout but a warning", there_is_no_timeout_but_a_warning },
		{ "a silent server counts as dead", a_silent_server_counts_as_dead },
		{ "a server that makes progress is not timed out",
		  a_server_that_makes_progress_is_not_timed_out },
		{ "a device has a timeout of its own", a_device_has_a_timeout_of_its_own },
		{ "silence without a timeout is in the log",
		  silence_without_a_timeout_is_in_the_log },
		{ "a server that answers is not timed out",
		  a_server_that_answers_is_not_timed_out },
		{ "time without a server does not count", time_without_a_server_does_not_count },
	};

	/* The answers come in another way. */
	const struct test of_silence[] = {
		{ "a silent server counts as dead", a_silent_server_counts_as_dead },
		{ "a server that makes progress is not timed out",
		  a_server_that_makes_progress_is_not_timed_out },
	};
	int failed = RUN_TESTS(tests, argc, argv);

	return failed | RUN_TESTS_BY_BATCHES(of_silence, argc, argv);
}
