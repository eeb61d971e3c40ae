// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A system that suspends, or a processor that goes offline, while a server has requests. Nothing
 * waits for these, and the time does not count as the server's.
 *
 * The freeze is real, but the machine does not sleep: pm_test turns back after some seconds.
 */
#include "actors.h"
#include "users.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define CPU "/sys/devices/system/cpu/cpu1/online"

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

static void run_anywhere(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* A thread that is bound to the second processor answers when it is told to. */
static int answer_late(struct server *server, const struct ubdsrv_io_desc *desc, uint8_t *buffer)
{
	if (desc->start_sector >= KEPT_SECTOR && !get(&shared->release)) {
		run_on(1);
		keep_all(server, desc, buffer);
		while (!get(&shared->release))
			usleep(1000);
	}
	return server_handle(server, desc, buffer);
}

/* Of a user, whose servers have a limit. */
static void serve_late(void *arg)
{
	struct server server;

	become(ALICE);
	init_server(&server);
	server.handle = answer_late;
	server_run(&server);
	serve_for_ever(&server);
}

static int spawn_late_server(const char *limit)
{
	/* A test that failed may have left it off. */
	write_file(CPU, "1");
	allow();
	set_param("unprivileged_timeout", limit);
	share();
	return wait_for_server(spawn(serve_late, NULL));
}

/* To the queue of the second processor, whose thread then has one of them in hand. */
static void submit_there(struct client *client)
{
	run_on(1);
	client_submit(client, 8, KEPT_SECTOR);
	run_anywhere();
	WAIT_UNTIL(get(&shared->nr_kept) == 1, AGE);
}

static void check_answered(struct client *client)
{
	set(&shared->release, true);
	CHECK_EQ(client_wait(client), 0);
	check_written(client, KEPT_SECTOR);
}

/* The server was not found to be too slow by the last answer; that takes a work item. */
static void check_it_goes_on(struct client *client)
{
	usleep(300000);
	client_submit(client, 8, KEPT_SECTOR);
	CHECK_EQ(client_wait(client), 0);
}

/* ---- processors ---- */

static void switch_off(void *arg)
{
	write_file(CPU, "0");
}

static void a_processor_goes_offline_under_requests(void)
{
	int server = spawn_late_server("60"), switcher;
	struct client client;

	submit_there(&client);
	switcher = spawn(switch_off, NULL);
	WAIT_UNTIL(waitpid(switcher, NULL, WNOHANG) == switcher, AGE);
	check_answered(&client);
	write_file(CPU, "1");
	set(&shared->nr_kept, 0);
	set(&shared->release, false);
	submit_there(&client);
	check_answered(&client);
	kill_server(server);
}

/* ---- suspend ---- */

/* As deep as @level, which is one of pm_test, to @state. */
static void suspend(const char *level, const char *state, const char *seconds)
{
	write_file("/sys/module/suspend/parameters/pm_test_delay", seconds);
	write_file("/sys/power/pm_test", level);
	write_file("/sys/power/state", state);
	write_file("/sys/power/pm_test", "none");
}

static const char *text_of(int number)
{
	static char text[2][16];
	static unsigned nr;

	nr = (nr + 1) % 2;
	snprintf(text[nr], sizeof(text[nr]), "%d", number);
	return text[nr];
}

/* Longer than @limit, which is in seconds. */
static int frozen(int limit)
{
	return limit * 3 / 2;
}

/* Too much of the time since @begin has passed before and after the freeze to tell anything. */
static bool is_too_slow(double begin, int limit)
{
	return now() - begin - frozen(limit) > limit - 2;
}

/* Each try says whether it could be told; on a slow machine only a longer limit can be. */
static void try_limits(bool (*try)(const char *level, int limit), const char *level)
{
	for (int limit = 10; !try(level, limit); limit *= 3)
		CHECK(limit < 90);
}

static bool try_suspend_under_requests(const char *level, int limit)
{
	int server = spawn_late_server(text_of(limit));
	struct client client;
	double begin = now();
	bool told;

	submit_there(&client);
	suspend(level, "mem", text_of(frozen(limit)));
	told = !is_too_slow(begin, limit);
	if (told) {
		check_answered(&client);
		check_it_goes_on(&client);
	} else {
		set(&shared->release, true);
		client_wait(&client);
	}
	kill_server(server);
	return told;
}

/* The driver has no chance to look meanwhile. */
static void a_suspend_to_the_last_processor_costs_no_time(void)
{
	try_limits(try_suspend_under_requests, "processors");
}

/* And here it has. */
static void a_suspend_to_the_last_task_costs_no_time(void)
{
	try_limits(try_suspend_under_requests, "freezer");
}

static void serve_and_be_waited_for(void *arg)
{
	struct server server;

	init_server(&server);
	server.info.flags = UBD_F_USER_RECOVERY;
	server.info.recovery_timeout = *(const int *)arg;
	server_run(&server);
	serve_for_ever(&server);
}

static bool try_suspend_before_the_next_server(const char *level, int limit)
{
	double begin;
	bool told;
	int server;

	share();
	server = wait_for_server(spawn(serve_and_be_waited_for, &limit));
	begin = now();
	kill_server(server);
	close(open_waiting());
	suspend(level, "mem", text_of(frozen(limit)));
	told = !is_too_slow(begin, limit);
	if (told)
		kill_server(spawn_next());
	WAIT_UNTIL(!exists(block_node(get(&shared->id))), limit + SOON);
	return told;
}

static void a_suspend_takes_no_time_from_the_next_server(void)
{
	try_limits(try_suspend_before_the_next_server, "freezer");
}

/* Before tasks are frozen, when a hibernation begins, file systems are synchronized. */
static void a_server_that_does_not_answer_cannot_stop_a_hibernation(void)
{
	int server = spawn_late_server("3"), disk;

	disk = open(block_node(get(&shared->id)), O_WRONLY | O_CLOEXEC);
	CHECK_EQ(pwrite(disk, aligned(4096), 4096, KEPT_SECTOR * 512), 4096);
	suspend("freezer", "disk", "1");
	CHECK(get(&shared->nr_kept));
	CHECK(fsync(disk) < 0);
	close(disk);
	kill_server(server);
}

/* ---- what is no suspend ---- */

static void stop(int pid)
{
	CHECK_EQ(kill(pid, SIGSTOP), 0);
}

static void freeze_in(int pid, const char *type, const char *options, const char *file,
		      const char *state)
{
	char path[64], text[16];

	CHECK_EQ(mount("none", "/mnt", type, 0, options), 0);
	CHECK(mkdir("/mnt/ubd", 0755) == 0 || errno == EEXIST);
	snprintf(text, sizeof(text), "%d", pid);
	write_file("/mnt/ubd/cgroup.procs", text);
	snprintf(path, sizeof(path), "/mnt/ubd/%s", file);
	write_file(path, state);
}

static void freeze_old(int pid)
{
	freeze_in(pid, "cgroup", "freezer", "freezer.state", "FROZEN");
}

static void freeze_new(int pid)
{
	freeze_in(pid, "cgroup2", NULL, "cgroup.freeze", "1");
}

static void check_it_counts(void (*freeze)(int pid), const char *file, const char *thawed)
{
	int server = spawn_late_server("2");
	struct client client;

	submit_there(&client);
	freeze(server);
	CHECK(client_wait(&client) > 0);
	if (file)
		write_file(file, thawed);
	kill_server(server);
	if (!file)
		return;
	WAIT_UNTIL(rmdir("/mnt/ubd") == 0, AGE);
	CHECK_EQ(umount("/mnt"), 0);
}

static void a_server_frozen_alone_is_late(void)
{
	check_it_counts(stop, NULL, NULL);
	check_it_counts(freeze_old, "/mnt/ubd/freezer.state", "THAWED");
	check_it_counts(freeze_new, "/mnt/ubd/cgroup.freeze", "0");
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "a processor goes offline under requests",
		  a_processor_goes_offline_under_requests },
		{ "a suspend to the last processor costs no time",
		  a_suspend_to_the_last_processor_costs_no_time },
		{ "a suspend to the last task costs no time",
		  a_suspend_to_the_last_task_costs_no_time },
		{ "a suspend takes no time from the next server",
		  a_suspend_takes_no_time_from_the_next_server },
		{ "a server that does not answer cannot stop a hibernation",
		  a_server_that_does_not_answer_cannot_stop_a_hibernation },
		{ "a server frozen alone is late", a_server_frozen_alone_is_late },
	};
	int status = RUN_TESTS(tests, argc, argv);

	write_file(CPU, "1");
	forbid();
	return status;
}
