// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All processors in the driver at once, for kernels that look for data races: those show only
 * where two processors really come to the same place at the same time. The other programs prove
 *what is to come out; here it is enough that data is right and that nothing fails.
 *
 *	driver-parallel [SECONDS [TEST...]]
 *
 * SECONDS is for each test (2).
 */
#include "actors.h"

#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#define MAX_JOBS 16
#define PAIR	 2 /* of the same kind, so that each processor has one */

static unsigned int seconds = 2;
static int jobs[MAX_JOBS];
static int nr_jobs;

static void on_any_processor(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* A process that runs until shared->release is set; the processors get them in turn. */
static void begin(void (*run)(void *arg), void *arg)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(nr_jobs % get_nprocs(), &set);
	CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
	jobs[nr_jobs++] = spawn(run, arg);
	on_any_processor();
}

static void end_all(void)
{
	set(&shared->release, 1);
	while (nr_jobs)
		check_exit(jobs[--nr_jobs], 0);
}

/* ---- what users do ---- */

/* Blocks of 4 KiB that no other user has, behind those of write_and_verify(). */
#define BATCH_SECTOR(number) (8192 + (number)*256)

/* Several requests in one submission, and what has no data between them. */
static void submit_batches(void *arg)
{
	struct client client;
	uint64_t sector = BATCH_SECTOR(*(int *)arg);

	while (!get(&shared->release)) {
		client_submit(&client, 8, sector);
		CHECK_EQ(fsync(client.disk), 0);
		CHECK_EQ(client_wait(&client), 0);
		check_written(&client, sector);
		for (int i = 0; i < client.nr; i++)
			free(client.data[i]);
	}
}

static void begin_users(void)
{
	static const int first[] = { 0, 64, 128, 192 }, number[] = { 0, 1 };

	for (int i = 0; i < 4; i++)
		begin(write_and_verify, (void *)&first[i]);
	for (int i = 0; i < PAIR; i++)
		begin(submit_batches, (void *)&number[i]);
}

/* ---- what administrators do ---- */

static void read_attributes(void)
{
	char text[4096];
	glob_t files;

	if (glob("/sys/class/ubd/ubdc*/[ou]*", 0, NULL, &files))
		return;
	for (size_t i = 0; i < files.gl_pathc; i++) {
		int fd = open(files.gl_pathv[i], O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && read(fd, text, sizeof(text)) < 0)
			CHECK(errno == ENODEV || errno == EISDIR);
		close(fd);
	}
	globfree(&files);
}

/* For whichever device has the id now, if any. */
static void ask(uint32_t id)
{
	struct ubdsrv_ctrl_dev_info info;
	struct ubd_identity identity;
	struct ubd_params params;
	int fd = open_dev(id), disk;

	if (fd < 0)
		return;
	for (int i = 0; i < 8; i++)
		control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info));
	control(fd, UBD_CMD_GET_PARAMS, &params, sizeof(params));
	control(fd, UBD_CMD_GET_IDENTITY, &identity, sizeof(identity));
	disk = control(fd, UBD_CMD_OPEN_BLOCK, NULL, 0);
	if (disk >= 0)
		close(disk);
	close(fd);
}

static void ask_all(void *arg)
{
	for (unsigned int i = 0; !get(&shared->release); i++) {
		ask(i % PAIR);
		if (i % 8 == 0)
			read_attributes();
	}
}

/* Between sizes that have room for all users. */
static void resize(void *arg)
{
	uint64_t sectors = usual_params().dev_sectors, size;
	int fd = open_dev(get(&shared->id));

	CHECK(fd >= 0);
	for (int i = 0; !get(&shared->release); i++) {
		size = i % 2 ? sectors : sectors - 8192;
		CHECK_EQ(control(fd, UBD_CMD_UPDATE_SIZE, &size, sizeof(size)), 0);
	}
}

/* ---- what servers do ---- */

static void serve_one_queue(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.nr_hw_queues = 1;
	server.info.queue_depth = 16;
	server.info.flags = *(uint64_t *)arg;
	server.handle = server_handle;
	server_run(&server);
	serve_for_ever(&server);
}

static int spawn_one_queue(uint64_t flags)
{
	share();
	return wait_for_server(spawn(serve_one_queue, &flags));
}

/* Like spawn_next(), but users that only begin now know the device. */
static void take_over(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = server_handle;
	server_recover(&server, get(&shared->id));
	set(&shared->child, getpid());
	for (;;)
		pause();
}

static int replace(int server)
{
	kill_server(server);
	server = spawn(take_over, NULL);
	WAIT_UNTIL(get(&shared->child) == server, AGE);
	return server;
}

static void *start(void *arg)
{
	struct server *server = arg;
	int res = control(server->control, UBD_CMD_START_DEV, NULL, 0);

	CHECK(res == 0 || res == -ENODEV);
	return NULL;
}

static void live(struct server *server, unsigned int round)
{
	struct ubd_identity identity = { .serial = "parallel" };
	pthread_t starter;

	init_server(server);
	server_add(server);
	CHECK_EQ(control(server->control, UBD_CMD_SET_IDENTITY, &identity, sizeof(identity)), 0);
	server_open(server);
	server_serve(server);
	CHECK_EQ(pthread_create(&starter, NULL, start, server), 0);
	if (round % 2) {
		usleep(round * 7919 % 50000);
		CHECK_EQ(control(server->control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	}
	CHECK_EQ(pthread_join(starter, NULL), 0);
	if (round % 2 == 0)
		CHECK_EQ(get_state(server->control), UBD_S_DEV_LIVE);
	server_delete(server);
}

/* From ADD_DEV to DEL_DEV, with a STOP_DEV somewhere in START_DEV every other time. */
static void come_and_go(void *arg)
{
	struct server server;

	for (unsigned int i = 0; !get(&shared->release); i++)
		live(&server, i);
}

/* ---- tests ---- */

static void requests_of_one_queue(void)
{
	int server = spawn_one_queue(0);

	begin_users();
	sleep(seconds);
	end_all();
	kill_server(server);
}

static void commands_beside_requests(void)
{
	int server = spawn_one_queue(0);

	begin_users();
	begin(resize, NULL);
	for (int i = 0; i < PAIR; i++)
		begin(ask_all, NULL);
	sleep(seconds);
	end_all();
	kill_server(server);
}

static void servers_replace_each_other(void)
{
	int server = spawn_one_queue(UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE);

	begin_users();
	begin(ask_all, NULL);
	for (double end = now() + seconds; now() < end;)
		server = replace(server);
	end_all();
	kill_server(server);
	delete_device();
}

static void devices_come_and_go(void)
{
	share();
	for (int i = 0; i < PAIR; i++)
		begin(come_and_go, NULL);
	for (int i = 0; i < PAIR; i++)
		begin(ask_all, NULL);
	sleep(seconds);
	end_all();
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "requests of one queue from all processors", requests_of_one_queue },
		{ "commands beside requests", commands_beside_requests },
		{ "servers replace each other under load", servers_replace_each_other },
		{ "devices come and go side by side", devices_come_and_go },
	};

	if (argc > 1) {
		seconds = strtoul(argv[1], NULL, 0);
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	return RUN_TESTS(tests, argc, argv);
}
