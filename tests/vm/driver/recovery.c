// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Devices that outlive their server. Servers are processes of their own, and keep the disk in
 * memory that all of them share, so that the next one finds what the last one wrote.
 */
#include "actors.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REISSUE (UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)
#define FAIL_IO (UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_FAIL_IO)

/* Holds a queue's thread until the test lets it go on. */
static int hold_back(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (desc->start_sector >= KEPT_SECTOR) {
		__atomic_add_fetch(&shared->nr_kept, 1, __ATOMIC_SEQ_CST);
		while (!get(&shared->release))
			usleep(1000);
	}
	return server_handle(server, desc, buffer);
}

static uint64_t flags_of_device(void)
{
	struct ubdsrv_ctrl_dev_info info;
	int fd = open_dev(get(&shared->id));

	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	close(fd);
	return info.flags;
}

/* ---- life without a server ---- */

static void a_device_outlives_its_server(void)
{
	struct ubdsrv_ctrl_dev_info info;
	int pid = spawn_server(REISSUE), fd;

	kill_server(pid);
	fd = open_waiting();
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	CHECK_EQ(info.flags & ~(UBD_F_USER_COPY | UBD_F_BATCH), REISSUE);
	WAIT_UNTIL(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)) == 0 &&
			   info.ubdsrv_pid == -1,
		   AGE);
	CHECK(exists(block_node(info.dev_id)));
	close(fd);
	usleep(100000);
	CHECK(exists(block_node(info.dev_id)));
	delete_device();
}

static void a_device_not_yet_live_does_not(void)
{
	struct server server;

	share();
	init_server(&server);
	server.info.flags = REISSUE;
	server_add(&server);
	server_open(&server);
	close(server.control);
	WAIT_UNTIL(!exists(char_node(server.info.dev_id)), AGE);
}

static void an_unheld_device_lives_while_it_is_served(void)
{
	struct server server;

	share();
	init_server(&server);
	server.info.flags = REISSUE;
	server_run(&server);
	close(server.control);
	usleep(100000);
	server.control = open_dev(server.info.dev_id);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

static void a_waiting_device_holds_the_module(void)
{
	kill_server(spawn_server(REISSUE));
	close(open_waiting());
	CHECK(syscall(SYS_delete_module, "ubd", O_NONBLOCK) < 0);
	CHECK_EQ(errno, EWOULDBLOCK);
	delete_device();
}

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void it_tells_when_its_server_has_gone(void)
{
	int pid = spawn_server(REISSUE), fd = open_dev(get(&shared->id));
	struct ubdsrv_ctrl_dev_info info;
	uint64_t before;

	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	CHECK_EQ(info.left_ns, 0);
	for (int i = 0; i < 2; i++) {
		before = realtime();
		kill_server(pid);
		WAIT_UNTIL(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)) == 0 &&
				   info.ubdsrv_pid == -1,
			   AGE);
		CHECK(info.left_ns > before && info.left_ns < realtime());
		pid = spawn_next();
	}
	kill_server(pid);
	close(fd);
	delete_device();
}

static void only_its_storage_can_be_named_anew(void)
{
	struct ubd_identity identity = { .serial = "serial", .uuid = { 1 }, .image_ino = 1 };
	struct ubd_identity found;
	int pid = spawn_server(REISSUE), fd = open_dev(get(&shared->id));

	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, &identity, sizeof(identity)), -EBUSY);
	kill_server(pid);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_QUIESCED, AGE);
	identity = (struct ubd_identity){ .image_dev = 2, .image_ino = 3 };
	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, &identity, sizeof(identity)), -EBUSY);
	CHECK_EQ(control(fd, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	identity.uuid[0] = 1;
	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, &identity, sizeof(identity)), -EBUSY);
	identity.uuid[0] = 0;
	CHECK_EQ(control(fd, UBD_CMD_SET_IDENTITY, &identity, sizeof(identity)), 0);
	CHECK_EQ(control(fd, UBD_CMD_GET_IDENTITY, &found, sizeof(found)), 0);
	CHECK(!memcmp(&found, &identity, sizeof(found)));
	kill_server(spawn_next());
	close(fd);
	delete_device();
}

/* ---- what becomes of requests ---- */

/* More than there are tags: some the server has had, some wait for a tag. */
static void reissue_loses_no_request(void)
{
	int pid = spawn_server(REISSUE);
	struct client client;

	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	set(&shared->keeps, false);
	pid = spawn_next();
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, KEPT_SECTOR);
	kill_server(pid);
	delete_device();
}

/* A stopped process runs no task work: the requests are on their way to it. */
static void reissue_loses_nothing_that_was_on_its_way(void)
{
	int pid = spawn_server(REISSUE);
	struct client client;

	CHECK_EQ(kill(pid, SIGSTOP), 0);
	usleep(50000);
	client_submit(&client, 64, 0);
	usleep(100000);
	kill_server(pid);
	pid = spawn_next();
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, 0);
	kill_server(pid);
	delete_device();
}

static int lose_when_told(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (ubd_desc_op(desc) == UBD_IO_OP_FLUSH && get(&shared->release))
		return UBD_IO_RES_LOST;
	return server_handle(server, desc, buffer);
}

static void serve_and_lose(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = lose_when_told;
	server.info.flags = REISSUE;
	server_run(&server);
	serve_for_ever(&server);
}

/* 0, or the errno of a write that is durable when it ends. */
static int write_durably(int disk, const uint8_t *data)
{
	return pwritev2(disk, &(struct iovec){ (void *)data, 4096 }, 1, 0, RWF_DSYNC) < 0 ? errno
											  : 0;
}

/* The next server does not know that, and reports that its flushes succeeded. */
static void what_a_server_has_lost_stays_lost(void)
{
	uint8_t *data = aligned(4096);
	int pid, disk;

	share();
	pid = wait_for_server(spawn(serve_and_lose, NULL));
	disk = open_disk(get(&shared->id), O_RDWR);
	CHECK_EQ(fsync(disk), 0);
	CHECK_EQ(write_durably(disk, data), 0);
	CHECK(!(flags_of_device() & UBD_F_LOST));
	set(&shared->release, true);
	CHECK_EQ(fsync(disk) ? errno : 0, EIO);
	set(&shared->release, false);
	CHECK_EQ(fsync(disk) ? errno : 0, EIO);
	CHECK_EQ(write_durably(disk, data), EIO);
	kill_server(pid);
	pid = spawn_next();
	CHECK(flags_of_device() & UBD_F_LOST);
	CHECK_EQ(fsync(disk) ? errno : 0, EIO);
	CHECK_EQ(write_durably(disk, data), EIO);
	/* Everything else continues. */
	CHECK_EQ(pwrite(disk, data, 4096, 0), 4096);
	CHECK_EQ(pread(disk, data, 4096, 0), 4096);
	close(disk);
	free(data);
	kill_server(pid);
	delete_device();
}

/* What the server had fails; what comes later waits. */
/* A server that leaves before it has fetched anything. */
static void open_and_leave(void *arg)
{
	struct server server;

	server_init(&server);
	server.control = open_dev(get(&shared->id));
	CHECK_EQ(control(server.control, UBD_CMD_GET_DEV_INFO, &server.info, sizeof(server.info)),
		 0);
	CHECK_EQ(control(server.control, UBD_CMD_START_RECOVERY, NULL, 0), 0);
	server_open(&server);
}

/* They do so when there is a next server: what their end sets off may need one. */
static void without_reissue_the_servers_requests_fail(void)
{
	int pid = spawn_server(UBD_F_USER_RECOVERY);
	struct client had, later;
	int fd;

	client_submit(&had, 8, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) == 8, AGE);
	kill_server(pid);
	fd = open_waiting();
	client_submit(&later, 32, 0);
	usleep(100000);
	CHECK_EQ(io_uring_cq_ready(&had.ring), 0);
	CHECK_EQ(io_uring_cq_ready(&later.ring), 0);
	close(fd);
	check_exit(spawn(open_and_leave, NULL), 0);
	pid = spawn_next();
	CHECK_EQ(client_wait(&had), 8);
	CHECK_EQ(client_wait(&later), 0);
	check_written(&later, 0);
	kill_server(pid);
	delete_device();
}

static void fail_io_fails_all_until_the_end_of_recovery(void)
{
	int pid = spawn_server(FAIL_IO);
	struct server server;
	struct client client;
	int fd;

	client_submit(&client, 32, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	CHECK_EQ(client_wait(&client), 32);
	fd = open_waiting();
	client_submit(&client, 32, 0);
	CHECK_EQ(client_wait(&client), 32);

	init_server(&server);
	server_attach(&server, get(&shared->id));
	client_submit(&client, 32, 0);
	CHECK_EQ(client_wait(&client), 32);
	CHECK_EQ(control(server.control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	client_submit(&client, 32, 0);
	CHECK_EQ(client_wait(&client), 0);
	close(fd);
	server_delete(&server);
}

static void a_verifying_writer_goes_on_across_ten_deaths(void)
{
	int pid = spawn_server(REISSUE), writers[4];

	set(&shared->keeps, false);
	for (int i = 0; i < 4; i++) {
		int first = i * 64;

		writers[i] = spawn(write_and_verify, &first);
	}
	for (int round = 0; round < 10; round++) {
		usleep(20000 + round * 7000);
		kill_server(pid);
		pid = spawn_next();
	}
	usleep(50000);
	set(&shared->release, true);
	for (int i = 0; i < 4; i++)
		check_exit(writers[i], 0);
	kill_server(pid);
	delete_device();
}

/* ---- QUIESCE ---- */

static void quiesce(void *arg)
{
	CHECK_EQ(control(*(int *)arg, UBD_CMD_QUIESCE, NULL, 0), 0);
}

static void leave_when_told(void *arg)
{
	struct server server;

	init_server(&server);
	server.handle = hold_back;
	server.info.flags = UBD_F_USER_RECOVERY;
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(server.queues[i].thread, NULL), 0);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_QUIESCED);
	set(&shared->left, true);
	while (get(&shared->left))
		usleep(1000);
}

/* It commits what it has; that it has gone is known when its file is closed. */
static void quiesce_lets_the_server_finish(void)
{
	struct client had, later;
	int pid, fd, server;

	share();
	server = wait_for_server(spawn(leave_when_told, NULL));
	client_submit(&had, 1, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) == 1, AGE);
	fd = open_dev(get(&shared->id));
	pid = spawn(quiesce, &fd);
	WAIT_UNTIL(is_waiting(pid), AGE);
	CHECK_EQ(get_state(fd), UBD_S_DEV_QUIESCED);
	client_submit(&later, 32, 0);
	usleep(100000);
	CHECK_EQ(io_uring_cq_ready(&had.ring), 0);
	set(&shared->release, true);
	CHECK_EQ(client_wait(&had), 0);
	WAIT_UNTIL(get(&shared->left), AGE);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	CHECK_EQ(io_uring_cq_ready(&later.ring), 0);
	set(&shared->left, false);
	check_exit(server, 0);
	check_exit(pid, 0);

	server = spawn_next();
	CHECK_EQ(client_wait(&later), 0);
	check_written(&later, 0);
	kill_server(server);
	close(fd);
	delete_device();
}

static void a_server_killed_while_it_is_quiesced_is_gone_too(void)
{
	int server = spawn_server(REISSUE), fd, pid;
	struct client client;

	client_submit(&client, 4, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) == 4, AGE);
	fd = open_dev(get(&shared->id));
	pid = spawn(quiesce, &fd);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_QUIESCED, AGE);
	kill_server(server);
	check_exit(pid, 0);
	set(&shared->keeps, false);
	server = spawn_next();
	CHECK_EQ(client_wait(&client), 0);
	kill_server(server);
	close(fd);
	delete_device();
}

/* ---- what is refused ---- */

static void check_refused(int fd, int quiesce, int start, int end)
{
	CHECK_EQ(control(fd, UBD_CMD_QUIESCE, NULL, 0), quiesce);
	CHECK_EQ(control(fd, UBD_CMD_START_RECOVERY, NULL, 0), start);
	CHECK_EQ(control(fd, UBD_CMD_END_RECOVERY, NULL, 0), end);
}

static void recovery_at_the_wrong_time_is_refused(void)
{
	struct server server;
	int pid;

	share();
	init_server(&server);
	server.info.flags = REISSUE;
	server_add(&server);
	check_refused(server.control, -EINVAL, -EINVAL, -EINVAL);
	server_open(&server);
	server_serve(&server);
	server_start(&server);
	CHECK_EQ(control(server.control, UBD_CMD_START_RECOVERY, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_END_RECOVERY, NULL, 0), -EINVAL);
	CHECK_EQ(control(server.control, UBD_CMD_STOP_DEV, NULL, 0), 0);
	check_refused(server.control, -ENODEV, -ENODEV, -ENODEV);
	server_delete(&server);

	pid = spawn_server(REISSUE);
	kill_server(pid);
	init_server(&server);
	server.control = open_waiting();
	CHECK_EQ(control(server.control, UBD_CMD_END_RECOVERY, NULL, 0), -EINVAL);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -EBUSY);
	CHECK(open(char_node(get(&shared->id)), O_RDWR) < 0);
	CHECK_EQ(errno, EBUSY);
	close(server.control);
	server_attach(&server, get(&shared->id));
	CHECK_EQ(control(server.control, UBD_CMD_QUIESCE, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_START_RECOVERY, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_START_DEV, NULL, 0), -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_SET_PARAMS, &server.params, sizeof(server.params)),
		 -EBUSY);
	CHECK_EQ(control(server.control, UBD_CMD_END_RECOVERY, NULL, 0), 0);
	CHECK_EQ(control(server.control, UBD_CMD_END_RECOVERY, NULL, 0), -EINVAL);
	server_delete(&server);
}

static void a_device_without_recovery_refuses_it(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	check_refused(server.control, -EINVAL, -EINVAL, -EINVAL);
	CHECK_EQ(get_state(server.control), UBD_S_DEV_LIVE);
	server_delete(&server);
}

/* ---- ends in the middle ---- */

static void attach_and_wait(void *arg)
{
	struct server server;

	init_server(&server);
	server_attach(&server, *(int *)arg);
	set(&shared->id, server.info.dev_id);
	pause();
}

static void start_recovery(void *arg)
{
	int fd = open_dev(*(int *)arg);

	CHECK_EQ(control(fd, UBD_CMD_START_RECOVERY, NULL, 0), 0);
}

static void a_server_that_dies_while_it_recovers_is_followed_by_another(void)
{
	int pid = spawn_server(REISSUE), id = get(&shared->id);
	struct client client;

	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	/* One that only asks ... */
	check_exit(spawn(start_recovery, &id), 0);
	/* ... and one that has been given requests. */
	set(&shared->nr_kept, 0);
	set(&shared->id, -1);
	pid = wait_for_server(spawn(attach_and_wait, &id));
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	set(&shared->keeps, false);
	pid = spawn_next();
	CHECK_EQ(client_wait(&client), 0);
	kill_server(pid);
	delete_device();
}

/* The order of the two does not matter: there is no server, so requests fail. */
static void a_server_that_dies_as_its_recovery_ends_has_gone(void)
{
	int pid = spawn_server(FAIL_IO), id = get(&shared->id), fd = open_dev(id), res;
	struct client client;

	kill_server(pid);
	for (int round = 0; round < 8; round++) {
		set(&shared->id, -1);
		pid = wait_for_server(spawn(attach_and_wait, &id));
		CHECK_EQ(kill(pid, SIGKILL), 0);
		usleep(round * 500);
		res = control(fd, UBD_CMD_END_RECOVERY, NULL, 0);
		CHECK(res == 0 || res == -EINVAL);
		check_exit(pid, SIGKILL);
		WAIT_UNTIL(get_state(fd) == UBD_S_DEV_QUIESCED, AGE);
		client_submit(&client, 4, 0);
		CHECK_EQ(client_wait(&client), 4);
	}
	close(fd);
	delete_device();
}

/* In its own process: all io_uring workers of the test's process wait for the disk. */
static void stop_waiting(void *arg)
{
	close(open_waiting());
	stop_from_outside(NULL);
}

static void stop_fails_what_waits(void)
{
	int pid = spawn_server(REISSUE), fd = open_dev(get(&shared->id));
	struct client client;

	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	check_exit(spawn(stop_waiting, NULL), 0);
	CHECK_EQ(client_wait(&client), 64);
	CHECK_EQ(get_state(fd), UBD_S_DEV_STOPPED);
	CHECK_EQ(control(fd, UBD_CMD_START_RECOVERY, NULL, 0), -ENODEV);
	/* A stopped device does not outlive its last control fd. */
	close(fd);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* Its dirty page is on the way to a server that does not answer. */
static void a_server_killed_while_it_is_stopped_is_not_waited_for(void)
{
	int server = spawn_server(REISSUE), disk, stopper = spawn_waiting_stop(&disk);

	CHECK(flags_of_device() & UBD_F_STOPPING);
	kill_server(server);
	check_exit(stopper, 0);
	close(disk);
	WAIT_UNTIL(!exists(char_node(get(&shared->id))), AGE);
}

/* ---- waits that can be killed ---- */

static void end_recovery(void *arg)
{
	control(*(int *)arg, UBD_CMD_END_RECOVERY, NULL, 0);
}

/* A server that does not leave, and then a recovery without a server. */
static void every_wait_can_be_killed(void)
{
	int pid = spawn_server(REISSUE), id = get(&shared->id), fd = open_dev(id);

	kill_waiting(quiesce, &fd);
	kill_waiting(start_recovery, &id);
	kill_server(pid);
	check_exit(spawn(start_recovery, &id), 0);
	kill_waiting(end_recovery, &fd);
	kill_server(spawn_next());
	close(fd);
	delete_device();
}

/* ---- the deadline ---- */

static void serve_until(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = REISSUE;
	server.info.recovery_timeout = *(int *)arg;
	server_run(&server);
	serve_for_ever(&server);
}

static int spawn_server_until(int seconds)
{
	share();
	return wait_for_server(spawn(serve_until, &seconds));
}

/* Nobody has a control fd any more, and nobody could end the client's wait. */
static void without_a_server_in_time_a_device_ends(void)
{
	int pid = spawn_server_until(1);
	struct client client;

	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(pid);
	CHECK_EQ(client_wait(&client), 64);
	check_gone(get(&shared->id));
}

/* A process that starts a recovery and does not finish it does not count. */
static void a_recovery_that_does_not_end_is_none(void)
{
	int pid = spawn_server_until(1), fd = open_dev(get(&shared->id)), res;
	struct ubdsrv_ctrl_dev_info info;

	kill_server(pid);
	res = control(fd, UBD_CMD_START_RECOVERY, NULL, 0);
	CHECK(res == 0 || res == -ENODEV);
	CHECK_EQ(control(fd, UBD_CMD_END_RECOVERY, NULL, 0), -ENODEV);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_STOPPED, AGE);
	CHECK_EQ(control(fd, UBD_CMD_GET_DEV_INFO, &info, sizeof(info)), 0);
	CHECK_EQ(info.recovery_timeout, 1);
	CHECK_EQ(control(fd, UBD_CMD_START_RECOVERY, NULL, 0), -ENODEV);
	close(fd);
	check_gone(get(&shared->id));
}

/* It has a request that it does not answer. */
static void a_server_that_does_not_leave_is_not_waited_for(void)
{
	int pid = spawn_server_until(1), fd = open_dev(get(&shared->id));
	struct client had;

	client_submit(&had, 1, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) == 1, AGE);
	/* This waits until the server has gone, and no longer than the device. */
	CHECK_EQ(control(fd, UBD_CMD_QUIESCE, NULL, 0), -ENODEV);
	CHECK_EQ(client_wait(&had), 1);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_STOPPED, AGE);
	close(fd);
	kill_server(pid);
	check_gone(get(&shared->id));
}

/* Its seconds are many enough for a busy machine; each wait has them anew. */
static void what_is_recovered_in_time_goes_on(void)
{
	const int seconds = 6;
	int pid = spawn_server_until(seconds);
	struct client client;

	set(&shared->keeps, false);
	for (int i = 0; i < 2; i++) {
		usleep(seconds * 600000);
		kill_server(pid);
		pid = spawn_next();
		client_submit(&client, 8, 0);
		CHECK_EQ(client_wait(&client), 0);
	}
	usleep(seconds * 1100000);
	client_submit(&client, 8, 0);
	CHECK_EQ(client_wait(&client), 0);
	kill_server(pid);
	delete_device();
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a device outlives its server", a_device_outlives_its_server },
		{ "a device that is not yet live does not", a_device_not_yet_live_does_not },
		{ "an unheld device lives while it is served",
		  an_unheld_device_lives_while_it_is_served },
		{ "a waiting device holds the module", a_waiting_device_holds_the_module },
		{ "it tells when its server has gone", it_tells_when_its_server_has_gone },
		{ "only its storage can be named anew", only_its_storage_can_be_named_anew },
		{ "reissue loses no request", reissue_loses_no_request },
		{ "reissue loses nothing that was on its way",
		  reissue_loses_nothing_that_was_on_its_way },
		{ "without reissue the server's requests fail",
		  without_reissue_the_servers_requests_fail },
		{ "FAIL_IO fails all until END_RECOVERY",
		  fail_io_fails_all_until_the_end_of_recovery },
		{ "a verifying writer goes on across ten deaths",
		  a_verifying_writer_goes_on_across_ten_deaths },
		{ "QUIESCE lets the server finish", quiesce_lets_the_server_finish },
		{ "a server killed while it is quiesced is gone too",
		  a_server_killed_while_it_is_quiesced_is_gone_too },
		{ "recovery at the wrong time is refused", recovery_at_the_wrong_time_is_refused },
		{ "a device without recovery refuses it", a_device_without_recovery_refuses_it },
		{ "a server that dies while it recovers is followed by another",
		  a_server_that_dies_while_it_recovers_is_followed_by_another },
		{ "a server that dies as its recovery ends has gone",
		  a_server_that_dies_as_its_recovery_ends_has_gone },
		{ "what a server has lost stays lost", what_a_server_has_lost_stays_lost },
		{ "STOP_DEV fails what waits", stop_fails_what_waits },
		{ "a server killed while it is stopped is not waited for",
		  a_server_killed_while_it_is_stopped_is_not_waited_for },
		{ "every wait can be killed", every_wait_can_be_killed },
		{ "without a server in time a device ends",
		  without_a_server_in_time_a_device_ends },
		{ "a recovery that does not end is none", a_recovery_that_does_not_end_is_none },
		{ "a server that does not leave is not waited for",
		  a_server_that_does_not_leave_is_not_waited_for },
		{ "what is recovered in time goes on", what_is_recovered_in_time_goes_on },
	};
	/* In another way a server has the data of requests, or is on its way to it, when it dies.
	 */
	const struct test of_data[] = {
		{ "reissue loses no request", reissue_loses_no_request },
		{ "reissue loses nothing that was on its way",
		  reissue_loses_nothing_that_was_on_its_way },
		{ "a verifying writer goes on across ten deaths",
		  a_verifying_writer_goes_on_across_ten_deaths },
		{ "QUIESCE lets the server finish", quiesce_lets_the_server_finish },
	};
	int failed = RUN_TESTS(tests, argc, argv);

	failed |= RUN_TESTS_BY_BATCHES(of_data, argc, argv);
	return failed | RUN_TESTS_BY_USER_COPY(of_data, argc, argv);
}
