// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A server that dies, or loses what it needs to serve: everything that waits for it gets an error
 * immediately, and the device goes away.
 */
#include "actors.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every request ends with an error before @end. */
static void client_check_failed(struct client *client, double end)
{
	CHECK_EQ(client_wait(client), client->nr);
	if (now() > end)
		fail("the last request ended %.2f s too late", now() - end);
}

static void kill_and_check(int pid, struct client *client)
{
	double start = now();

	CHECK_EQ(kill(pid, SIGKILL), 0);
	if (client)
		client_check_failed(client, start + SOON);
	check_exit(pid, SIGKILL);
	check_gone(shared->id);
}

/* ---- SIGKILL ---- */

static void an_idle_server_is_killed(void)
{
	kill_and_check(spawn_server(0), NULL);
}

/* More requests than tags: some the server has, some wait for a tag. */
static void a_server_is_killed_with_requests_in_its_hands(void)
{
	int pid = spawn_server(0);
	struct client client;

	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, 5);
	kill_and_check(pid, &client);
}

/* A stopped process runs no task work: the requests stay on their way to it. */
static void a_stopped_server_is_killed(void)
{
	int pid = spawn_server(0);
	struct client client;

	CHECK_EQ(kill(pid, SIGSTOP), 0);
	usleep(50000);
	client_submit(&client, 64, 0);
	usleep(100000);
	CHECK_EQ(get(&shared->nr_kept), 0);
	kill_and_check(pid, &client);
}

static void a_server_is_killed_with_dirty_pages(void)
{
	int pid = spawn_server(0), disk;
	char data[65536];

	memset(data, 1, sizeof(data));
	disk = open(block_node(shared->id), O_WRONLY);
	CHECK(disk >= 0);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(pwrite(disk, data, sizeof(data), (off_t)i * sizeof(data)), sizeof(data));
	kill_and_check(pid, NULL);
	CHECK(fsync(disk) < 0);
	close(disk);
}

/* Readers and writers that go on until they fail, killed at various moments. */
static void a_busy_server_is_killed_again_and_again(void)
{
	for (int round = 0; round < 15; round++) {
		int pid = spawn_server(0), clients[4];
		double start;

		for (int i = 0; i < 4; i++)
			clients[i] = spawn(hammer, NULL);
		usleep(20000 + round * 3000);
		start = now();
		CHECK_EQ(kill(pid, SIGKILL), 0);
		for (int i = 0; i < 4; i++)
			check_exit(clients[i], 0);
		if (now() - start > SOON)
			fail("round %d: the last client ended after %.2f s", round, now() - start);
		check_exit(pid, SIGKILL);
		check_gone(shared->id);
	}
}

/* ---- while it starts ---- */

static void start_for_ever(void *arg)
{
	struct server server;

	server_init(&server);
	server.handle = arg;
	server_add(&server);
	server_open(&server);
	set(&shared->id, server.info.dev_id);
	if (arg)
		server_serve(&server);
	server_start(&server);
}

/* The kernel looks for partitions, and the server does not answer. */
static void a_server_is_killed_while_partitions_are_looked_for(void)
{
	int pid;

	share();
	pid = spawn(start_for_ever, keep_all);
	WAIT_UNTIL(get(&shared->nr_kept) > 0, 10);
	kill_and_check(pid, NULL);
}

static void a_server_is_killed_while_start_waits_for_fetches(void)
{
	int pid;

	share();
	pid = spawn(start_for_ever, NULL);
	WAIT_UNTIL(get(&shared->id) >= 0, 10);
	usleep(200000);
	kill_and_check(pid, NULL);
}

static void a_server_is_killed_while_it_is_stopped(void)
{
	int pid = spawn_server(0), disk, stopper = spawn_waiting_stop(&disk);

	CHECK_EQ(waitpid(stopper, NULL, WNOHANG), 0);
	CHECK_EQ(kill(pid, SIGKILL), 0);
	check_exit(stopper, 0);
	check_exit(pid, SIGKILL);
	check_gone(shared->id);
	close(disk);
}

static void whoever_waits_for_stop_can_be_killed(void)
{
	int pid = spawn_server(0), disk, stopper = spawn_waiting_stop(&disk);

	kill_server(stopper);
	kill_and_check(pid, NULL);
	close(disk);
}

/* ---- parts of a server that go, and parts that do not matter ---- */

static void nothing(void *arg)
{
}

static void close_cdev(void *arg)
{
	close(((struct server *)arg)->cdev);
}

static void check_serves(struct server *server)
{
	int disk = open_disk(server->info.dev_id, O_RDWR);

	CHECK_EQ(pwrite(disk, aligned(4096), 4096, 4096), 4096);
	close(disk);
}

static void a_child_that_closes_its_copy_changes_nothing(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	check_exit(spawn(close_cdev, &server), 0);
	check_exit(spawn(nothing, NULL), 0);
	check_serves(&server);
	server_delete(&server);
}

static void a_child_that_runs_a_program_changes_nothing(void)
{
	struct server server;

	server_init(&server);
	server_run(&server);
	for (int i = 0; i < 3; i++) {
		int pid = vfork();

		if (pid == 0) {
			execl("/bin/busybox", "busybox", "true", NULL);
			_exit(1);
		}
		check_exit(pid, 0);
	}
	check_serves(&server);
	server_delete(&server);
}

static void the_last_descriptor_of_the_opener_counts(void)
{
	struct server server;
	int copy;

	server_init(&server);
	server_run(&server);
	copy = dup(server.cdev);
	CHECK(copy >= 0);
	close(copy);
	check_serves(&server);
	copy = dup(server.cdev);
	close(server.cdev);
	server.cdev = copy; /* for the queue threads, which look it up each time */
	check_serves(&server);
	close(copy);
	WAIT_UNTIL(get_state(server.control) == UBD_S_DEV_STOPPED, SOON);
	CHECK(!exists(block_node(server.info.dev_id)));
}

static void *outlive_the_main_thread(void *arg)
{
	CHECK_EQ(unshare(CLONE_FILES), 0);
	set(&shared->step, 1);
	for (;;)
		pause();
	return NULL;
}

static void leave_a_thread(void *arg)
{
	struct server server;
	pthread_t thread;

	init_server(&server);
	server_add(&server);
	server_open(&server);
	CHECK_EQ(pthread_create(&thread, NULL, outlive_the_main_thread, NULL), 0);
	WAIT_UNTIL(get(&shared->step) == 1, AGE);
	set(&shared->id, server.info.dev_id);
	WAIT_UNTIL(get(&shared->release), AGE);
	syscall(SYS_exit, 0);
}

/* Nothing else reveals it: the process lives, and there are no FETCHes. */
static void the_end_of_the_openers_file_table_counts(void)
{
	int pid, fd;

	share();
	pid = wait_for_server(spawn(leave_a_thread, NULL));
	fd = open_dev(get(&shared->id));
	CHECK_EQ(get_state(fd), UBD_S_DEV_ADDED);
	set(&shared->release, true);
	WAIT_UNTIL(get_state(fd) == UBD_S_DEV_STOPPED, SOON);
	kill_server(pid);
	close(fd);
	check_gone(get(&shared->id));
}

/* The copy in a child keeps the file, but cannot serve. */
static void sleep_on(void *arg)
{
	for (;;)
		pause();
}

static void serve_with_child(void *arg)
{
	struct server server;

	init_server(&server);
	server_run(&server);
	fcntl(server.cdev, F_SETFD, 0);
	set(&shared->child, spawn(sleep_on, NULL));
	serve_for_ever(&server);
}

/* A child has copies of everything, so only the disk goes away; the rest goes with the child. */
static void kill_all_but_the_child(void (*serve)(void *))
{
	struct client client;
	double start;
	int pid;

	share();
	pid = wait_for_server(spawn(serve, NULL));
	client_submit(&client, 16, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, 5);
	start = now();
	CHECK_EQ(kill(pid, SIGKILL), 0);
	client_check_failed(&client, start + SOON);
	WAIT_UNTIL(!exists(block_node(shared->id)), SOON);
	CHECK_EQ(kill(shared->child, SIGKILL), 0);
	check_gone(shared->id);
}

static void a_server_is_killed_and_a_child_keeps_its_files(void)
{
	kill_all_but_the_child(serve_with_child);
}

/* A child that shares the file table itself: the table is not closed when the opener dies. */
static int sleep_with_shared_files(void *arg)
{
	sleep_on(arg);
	return 0;
}

static void serve_with_shared_files(void *arg)
{
	static char stack[65536];
	struct server server;
	int pid;

	init_server(&server);
	server_run(&server);
	pid = clone(sleep_with_shared_files, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	CHECK(pid > 0);
	set(&shared->child, pid);
	serve_for_ever(&server);
}

static void a_server_is_killed_that_shared_its_file_table(void)
{
	kill_all_but_the_child(serve_with_shared_files);
}

/* A thread of the server waits for its own device, and so cannot be killed. */
static void wait_for_own_disk(void *arg)
{
	struct server server;
	int disk;

	server_init(&server);
	server.handle = keep_if_told;
	server_run(&server);
	set(&shared->id, server.info.dev_id);
	disk = open_disk(server.info.dev_id, O_RDONLY);
	(void)!pread(disk, aligned(4096), 4096, KEPT_SECTOR * 512);
	pause();
}

static void a_server_is_killed_that_waits_for_itself(void)
{
	double start;
	int pid;

	share();
	pid = spawn(wait_for_own_disk, NULL);
	WAIT_UNTIL(get(&shared->nr_kept) == 1, 10);
	start = now();
	CHECK_EQ(kill(pid, SIGKILL), 0);
	check_exit(pid, SIGKILL);
	if (now() - start > SOON)
		fail("it took %.2f s", now() - start);
	check_gone(shared->id);
}

/* ---- a core dump ---- */

#define END_OF_DUMP "/tmp/end-of-dump"

/* Receives a core dump from the kernel, and reads nothing of it until it is told to. */
static int take_dump(void)
{
	char data[65536];

	while (!exists(END_OF_DUMP))
		usleep(10000);
	while (read(STDIN_FILENO, data, sizeof(data)) > 0)
		;
	return 0;
}

static void dump_to(const char *pattern)
{
	int fd = open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC);

	CHECK_EQ(write(fd, pattern, strlen(pattern)), strlen(pattern));
	close(fd);
}

static void dump_to_this_program(void)
{
	char pattern[256] = "|";
	ssize_t len = readlink("/proc/self/exe", pattern + 1, sizeof(pattern) - 16);

	CHECK(len > 0);
	strcpy(pattern + 1 + len, " take-dump");
	unlink(END_OF_DUMP);
	dump_to(pattern);
}

/* The process is there as long as the dump goes on, which may be long, and has its files open. */
static void a_server_that_dumps_core_is_dead(void)
{
	struct client client;
	int pid;

	dump_to_this_program();
	pid = spawn_server(0);
	client_submit(&client, 8, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) == 8, AGE);
	CHECK_EQ(kill(pid, SIGSEGV), 0);
	CHECK_EQ(client_wait(&client), 8);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	close(open(END_OF_DUMP, O_CREAT | O_WRONLY, 0600));
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	check_gone(get(&shared->id));
	dump_to("core");
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "an idle server is killed", an_idle_server_is_killed },
		{ "a server is killed with requests in its hands",
		  a_server_is_killed_with_requests_in_its_hands },
		{ "a stopped server is killed", a_stopped_server_is_killed },
		{ "a server is killed with dirty pages", a_server_is_killed_with_dirty_pages },
		{ "a busy server is killed again and again",
		  a_busy_server_is_killed_again_and_again },
		{ "a server is killed while partitions are looked for",
		  a_server_is_killed_while_partitions_are_looked_for },
		{ "a server is killed while START_DEV waits for FETCHes",
		  a_server_is_killed_while_start_waits_for_fetches },
		{ "a server is killed while it is stopped",
		  a_server_is_killed_while_it_is_stopped },
		{ "whoever waits for STOP_DEV can be killed",
		  whoever_waits_for_stop_can_be_killed },
		{ "a child that closes its copy changes nothing",
		  a_child_that_closes_its_copy_changes_nothing },
		{ "a child that runs a program changes nothing",
		  a_child_that_runs_a_program_changes_nothing },
		{ "the last descriptor of the opener counts",
		  the_last_descriptor_of_the_opener_counts },
		{ "the end of the opener's file table counts",
		  the_end_of_the_openers_file_table_counts },
		{ "a server is killed and a child keeps its files",
		  a_server_is_killed_and_a_child_keeps_its_files },
		{ "a server is killed that shared its file table",
		  a_server_is_killed_that_shared_its_file_table },
		{ "a server is killed that waits for itself",
		  a_server_is_killed_that_waits_for_itself },
		{ "a server that dumps core is dead", a_server_that_dumps_core_is_dead },
	};
	/* In another way a server has the data of requests, or is on its way to it, when it dies.
	 */
	const struct test of_data[] = {
		{ "a server is killed with requests in its hands",
		  a_server_is_killed_with_requests_in_its_hands },
		{ "a stopped server is killed", a_stopped_server_is_killed },
		{ "a busy server is killed again and again",
		  a_busy_server_is_killed_again_and_again },
	};
	int failed;

	if (argc == 2 && strcmp(argv[1], "take-dump") == 0)
		return take_dump();
	failed = RUN_TESTS(tests, argc, argv);

	failed |= RUN_TESTS_BY_BATCHES(of_data, argc, argv);
	return failed | RUN_TESTS_BY_USER_COPY(of_data, argc, argv);
}
