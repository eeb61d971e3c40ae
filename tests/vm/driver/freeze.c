// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Queues that are frozen while their settings change, and file systems that are frozen or just
 * mounted: under load, and without a server.
 */
#include "actors.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define REISSUE (UBD_F_USER_RECOVERY | UBD_F_USER_RECOVERY_REISSUE)

/* Returns 0 or -errno. */
static int set_attribute(const char *name, const char *value)
{
	char path[96];
	ssize_t res;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/ubdb%d/queue/%s", get(&shared->id), name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	res = write(fd, value, strlen(value));
	close(fd);
	return res < 0 ? -errno : 0;
}

/* ---- queues ---- */

static const struct {
	const char *name, *values[2];
} settings[] = {
	{ "scheduler", { "mq-deadline", "none" } },
	{ "nr_requests", { "4", "8" } },
	{ "max_sectors_kb", { "4", "128" } },
	{ "nomerges", { "2", "0" } },
	{ "rq_affinity", { "2", "1" } },
	{ "iostats", { "0", "1" } },
	{ "read_ahead_kb", { "0", "128" } },
};

/* Those that freeze the queue among them wait for all requests, and keep others out meanwhile. */
static void settings_change_under_verified_load(void)
{
	int server = spawn_server(0), writers[3];

	memset(shared->disk, 0, 3 * 64 * 4096);
	for (int i = 0; i < 3; i++) {
		int first = i * 64;

		writers[i] = spawn(write_and_verify, &first);
	}
	for (int round = 0; round < 10; round++)
		for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
			CHECK_EQ(set_attribute(settings[i].name, settings[i].values[round % 2]), 0);
	set(&shared->release, true);
	for (int i = 0; i < 3; i++)
		check_exit(writers[i], 0);
	kill_server(server);
	check_gone(shared->id);
}

static void change_scheduler(void *arg)
{
	set_attribute("scheduler", arg);
	set(&shared->left, true);
}

/* What is asked for when a server comes again, or the device ends, goes on. */
static void a_freeze_ends_with_the_wait_for_a_server(void)
{
	for (int ends = 0; ends < 2; ends++) {
		int server = spawn_server(REISSUE), changer;
		struct client client;

		client_submit(&client, 16, KEPT_SECTOR);
		WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
		kill_server(server);
		changer = spawn(change_scheduler, "mq-deadline");
		usleep(100000);
		CHECK(!get(&shared->left));
		if (ends) {
			delete_device();
			CHECK(client_wait(&client) > 0);
		} else {
			set(&shared->keeps, false);
			server = spawn_next();
			CHECK_EQ(client_wait(&client), 0);
		}
		check_exit(changer, 0);
		if (!ends) {
			kill_server(server);
			delete_device();
		}
	}
}

/* Tags are given out by the scheduler's own, larger set then. */
static void a_scheduler_loses_nothing_with_its_server(void)
{
	int server = spawn_server(REISSUE);
	struct client client;

	CHECK_EQ(set_attribute("scheduler", "mq-deadline"), 0);
	client_submit(&client, 64, KEPT_SECTOR);
	WAIT_UNTIL(get(&shared->nr_kept) >= 8, AGE);
	kill_server(server);
	set(&shared->keeps, false);
	server = spawn_next();
	CHECK_EQ(client_wait(&client), 0);
	check_written(&client, KEPT_SECTOR);
	kill_server(server);
	delete_device();
}

static void a_server_dies_while_settings_change(void)
{
	for (int round = 0; round < 6; round++) {
		int server = spawn_server(0), users[2], changer;

		for (int i = 0; i < 2; i++)
			users[i] = spawn(hammer, NULL);
		changer = spawn(change_scheduler, round % 2 ? "none" : "mq-deadline");
		usleep(round * 2000);
		kill_server(server);
		check_exit(changer, 0);
		for (int i = 0; i < 2; i++)
			check_exit(users[i], 0);
		check_gone(shared->id);
	}
}

/* ---- file systems ---- */

static int spawn_mounted(void)
{
	int server = spawn_server(REISSUE);

	set(&shared->keeps, false);
	make_file_system(shared->id);
	mount_disk(shared->id);
	return server;
}

static void end_mounted(int server)
{
	CHECK_EQ(umount("/mnt"), 0);
	kill_server(server);
	delete_device();
}

static void check_file(const char *path, char byte)
{
	char found[65536];
	int file = open(path, O_RDONLY | O_CLOEXEC);

	CHECK_EQ(read(file, found, sizeof(found)), sizeof(found));
	for (size_t i = 0; i < sizeof(found); i++)
		CHECK_EQ(found[i], byte);
	close(file);
}

static void write_file(const char *path, char byte)
{
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char data[65536];

	memset(data, byte, sizeof(data));
	CHECK_EQ(write(file, data, sizeof(data)), sizeof(data));
	CHECK_EQ(fsync(file), 0);
	close(file);
}

static void write_two_files(void *arg)
{
	write_file("/mnt/one", 1);
	set(&shared->left, true);
	write_file("/mnt/two", 2);
}

static void attach_and_wait(void *arg)
{
	struct server server;

	init_server(&server);
	server_attach(&server, *(int *)arg);
	set(&shared->left, true);
	pause();
}

/* Twice; and the second time the next server dies before END_RECOVERY. */
static void a_mounted_file_system_goes_on_after_each_death(void)
{
	int server = spawn_mounted(), writer, id = get(&shared->id);

	writer = spawn(write_two_files, NULL);
	kill_server(server);
	server = spawn_next();
	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	set(&shared->left, false);
	server = spawn(attach_and_wait, &id);
	WAIT_UNTIL(get(&shared->left), AGE);
	kill_server(server);
	server = spawn_next();
	check_exit(writer, 0);
	CHECK_EQ(umount("/mnt"), 0);
	mount_disk(shared->id);
	check_file("/mnt/one", 1);
	check_file("/mnt/two", 2);
	end_mounted(server);
}

static int freeze_mounted(unsigned long how)
{
	int fd = open("/mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC), res = ioctl(fd, how, 0);

	close(fd);
	return res;
}

static void freeze(void *arg)
{
	CHECK_EQ(freeze_mounted(FIFREEZE), 0);
	set(&shared->left, true);
}

static void a_frozen_file_system_outlives_its_server(void)
{
	int server = spawn_mounted(), file, freezer;

	CHECK_EQ(freeze_mounted(FIFREEZE), 0);
	kill_server(server);
	server = spawn_next();
	CHECK_EQ(freeze_mounted(FITHAW), 0);
	write_file("/mnt/one", 1);

	/* A freeze has to write back first. */
	file = open("/mnt/two", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK_EQ(write(file, "2", 1), 1);
	close(file);
	kill_server(server);
	freezer = spawn(freeze, NULL);
	usleep(100000);
	CHECK(!get(&shared->left));
	server = spawn_next();
	check_exit(freezer, 0);
	CHECK_EQ(freeze_mounted(FITHAW), 0);
	check_file("/mnt/one", 1);
	end_mounted(server);
}

static void a_frozen_file_system_is_unmounted_after_the_end(void)
{
	int server = spawn_mounted();

	CHECK_EQ(freeze_mounted(FIFREEZE), 0);
	kill_server(server);
	delete_device();
	CHECK_EQ(freeze_mounted(FITHAW), 0);
	CHECK_EQ(umount("/mnt"), 0);
}

int main(int argc, char **argv)
{
	const struct test tests[] = {
		{ "settings change under verified load", settings_change_under_verified_load },
		{ "a freeze ends with the wait for a server",
		  a_freeze_ends_with_the_wait_for_a_server },
		{ "a scheduler loses nothing with its server",
		  a_scheduler_loses_nothing_with_its_server },
		{ "a server dies while settings change", a_server_dies_while_settings_change },
		{ "a mounted file system goes on after each death",
		  a_mounted_file_system_goes_on_after_each_death },
		{ "a frozen file system outlives its server",
		  a_frozen_file_system_outlives_its_server },
		{ "a frozen file system is unmounted after the end",
		  a_frozen_file_system_is_unmounted_after_the_end },
	};

	return RUN_TESTS(tests, argc, argv);
}
