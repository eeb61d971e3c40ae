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

static void set_timeout(unsigned int seconds)
{
	int fd = open("/sys/module/ubd/parameters/request_timeout", O_WRONLY);

	CHECK(fd >= 0);
	CHECK(dprintf(fd, "%u", seconds) > 0);
	close(fd);
}

static void the_timeout_is_300_seconds(void)
{
	char text[8] = "";
	int fd = open("/sys/module/ubd/parameters/request_timeout", O_RDONLY);

	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	CHECK(!strcmp(text, "300\n"));
	close(fd);
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
	set_timeout(300);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, AGE);
	CHECK(!exists(block_node(server.info.dev_id)));
}

static void answer_slowly(void *arg)
{
	int disk = open_disk(*(uint32_t *)arg, O_RDWR);

	for (int i = 0; i < 8; i++) {
		CHECK_EQ(pread(disk, aligned(4096), 4096, 0), 4096);
		usleep(500000);
	}
}

/* It is the request that must not last, not the time that there are requests. */
static void a_server_that_answers_is_not_timed_out(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	set_timeout(2);
	check_exit(spawn(answer_slowly, &server.info.dev_id), 0);
	set_timeout(300);
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
	set_timeout(300);
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
		{ "the timeout is 300 seconds", the_timeout_is_300_seconds },
		{ "a silent server counts as dead", a_silent_server_counts_as_dead },
		{ "a server that answers is not timed out",
		  a_server_that_answers_is_not_timed_out },
		{ "time without a server does not count", time_without_a_server_does_not_count },
	};

	return RUN_TESTS(tests, argc, argv);
}
