// SPDX-License-Identifier: GPL-2.0-or-later
/* What nbd.ko keeps for us as a text, whoever wrote it; and which process serves a device. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nbd_description.h"
#include "nbd_server_file.h"

/* ---- descriptions ---- */

static struct nbd_description example(void)
{
	return (struct nbd_description){
		.info = {
			.queues = 1,
			.depth = 64,
			.max_io_bytes = 128u << 10,
			.data = DATA_COPY,
			.recovery = RECOVERY_REISSUE,
			.recovery_timeout = 30,
		},
		.identity = {
			.serial = "a+b-c.d:e=@_",
			.uuid = { 1, 2, 3, 250 },
			.image_dev = UINT64_MAX,
			.image_ino = 7,
		},
		.params = {
			.volatile_cache = true,
			.fua = true,
			.logical_block_size = 512,
			.physical_block_size = 4096,
			.io_min = 4096,
			.io_opt = 65536,
			.max_io_sectors = 256,
			.discard_granularity = 65536,
			.max_discard_sectors = 524288,
			.max_write_zeroes_sectors = 524287,
			.request_timeout = TRANSPORT_NO_TIMEOUT,
			.dev_sectors = UINT64_C(1) << 40,
		},
	};
}

static void test_description_is_kept(void)
{
	struct nbd_description had = example(), found;
	g_autofree char *text = NULL;

	for (unsigned bits = 0; bits < 16; bits++) {
		had.params.read_only = bits & 1;
		had.params.volatile_cache = bits & 2;
		had.params.fua = bits & 4;
		had.params.rotational = bits & 8;
		g_clear_pointer(&text, g_free);
		text = nbd_description_to_text(&had);
		g_assert_true(nbd_description_parse(text, &found));
		g_assert_cmpmem(&found.params, sizeof(found.params), &had.params,
				sizeof(had.params));
		g_assert_cmpmem(&found.identity, sizeof(found.identity), &had.identity,
				sizeof(had.identity));
	}
	g_assert_cmpuint(found.info.queues, ==, had.info.queues);
	g_assert_cmpuint(found.info.depth, ==, had.info.depth);
	g_assert_cmpuint(found.info.max_io_bytes, ==, had.info.max_io_bytes);
	g_assert_cmpint(found.info.recovery, ==, had.info.recovery);
	g_assert_cmpuint(found.info.recovery_timeout, ==, had.info.recovery_timeout);
}

/* The text of @description with its field @index, counted by commas, replaced. */
static char *with_field(unsigned index, const char *value)
{
	struct nbd_description description = example();
	g_autofree char *text = nbd_description_to_text(&description);
	g_auto(GStrv) fields = g_strsplit(text, ",", -1);

	g_free(fields[index]);
	fields[index] = g_strdup(value);
	return g_strjoinv(",", fields);
}

static void test_text_of_others_is_refused(void)
{
	static const struct {
		unsigned index;
		const char *value;
	} bad[] = {
		{ 0, "ubd2" },
		{ 0, "" },
		{ 1, "1234" },
		{ 2, "0123456789012345678901234567890123456789012345678901234567890123" },
		{ 2, "a,b" },
		{ 5, "0" }, /* queues */
		{ 5, "65536" },
		{ 6, "0" }, /* depth */
		{ 6, "4097" },
		{ 7, "0" }, /* largest request */
		{ 7, "4294967296" },
		{ 8, "4" }, /* recovery */
		{ 8, "-1" },
		{ 12, "" },
		{ 12, "x" },
		{ 12, "18446744073709551616" },
	};
	struct nbd_description found = { .info.queues = 99 };

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		g_autofree char *text = with_field(bad[i].index, bad[i].value);

		g_assert_false(nbd_description_parse(text, &found));
	}
	g_assert_false(nbd_description_parse("", &found));
	g_assert_false(nbd_description_parse("ubd1", &found));
	g_assert_false(nbd_description_parse("/images/disk.qcow2", &found));
	g_assert_cmpuint(found.info.queues, ==, 99);
}

/* ---- servers ---- */

#define ID 5

typedef int take_fn(uint32_t id, GError **err);

/* Serves until it is asked to leave, and says to @told that it has begun. */
static void serve(take_fn *take, int told)
{
	pid_t pid = getpid();
	int fd = take(ID, NULL);

	if (fd < 0 || write(told, &pid, sizeof(pid)) < 0)
		_exit(1);
	while (!nbd_server_must_leave(fd))
		g_usleep(1000);
}

/* A process that serves; then, with @heir, another one wants to before it ends. */
static pid_t start_process(take_fn *take, bool heir, int *ret_told)
{
	int fds[2];
	pid_t pid;

	g_assert_cmpint(pipe(fds), ==, 0);
	pid = fork();
	if (pid == 0) {
		serve(take, fds[1]);
		if (heir && fork() == 0)
			serve(nbd_server_file_take_over, fds[1]);
		_exit(0);
	}
	close(fds[1]);
	*ret_told = fds[0];
	return pid;
}

/* Which process has begun to serve. */
static pid_t wait_until_serving(int told)
{
	pid_t pid;

	g_assert_cmpint(read(told, &pid, sizeof(pid)), ==, sizeof(pid));
	return pid;
}

static pid_t start_server(void)
{
	int told;
	pid_t pid = start_process(nbd_server_file_take, false, &told);

	g_assert_cmpint(wait_until_serving(told), ==, pid);
	close(told);
	return pid;
}

static void assert_left(pid_t pid)
{
	int status;

	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
}

static void test_one_process_is_the_server(void)
{
	pid_t pid = start_server();
	int fd;

	g_assert_cmpint(nbd_server_pid(ID), ==, pid);
	g_assert_cmpint(nbd_server_file_take(ID, NULL), ==, -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	g_assert_cmpint(nbd_server_pid(ID), ==, -1);
	fd = nbd_server_file_take(ID, NULL);
	g_assert_cmpint(fd, >=, 0);
	g_assert_false(nbd_server_must_leave(fd));
	nbd_server_file_close(fd);
}

/* A server that fails before it is live does not make the device wait longer. */
static void test_device_waits(void)
{
	const struct timespec begun = { .tv_sec = 1 };
	const struct timespec times[2] = { begun, begun };
	g_autofree char *path = g_strdup_printf("%s/nbd%d", nbd_server_folder, ID);
	int fd = nbd_server_file_take(ID, NULL);

	g_assert_cmpint(nbd_server_file_waited(ID), ==, -1);
	nbd_server_file_close(fd);
	nbd_server_file_wait(ID);
	g_assert_cmpint(nbd_server_file_waited(ID), >=, 0);
	g_assert_cmpint(nbd_server_file_waited(ID), <, 600);
	g_assert_cmpint(utimensat(AT_FDCWD, path, times, 0), ==, 0);
	fd = nbd_server_file_take_over(ID, NULL);
	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(nbd_server_file_waited(ID), >, 1);
	nbd_server_file_live(ID);
	g_assert_cmpint(nbd_server_file_waited(ID), ==, -1);
	nbd_server_file_close(fd);
	/* It has a time of the other clock, which is later. */
	nbd_server_file_wait(ID);
	g_assert_cmpint(utimensat(AT_FDCWD, path, NULL, 0), ==, 0);
	g_assert_cmpint(nbd_server_file_waited(ID), ==, 0);
	/* Not if it has ended, as somebody may still have it open. */
	nbd_server_file_end(ID);
	nbd_server_file_wait(ID);
	g_assert_true(nbd_server_file_has_ended(ID));
	g_assert_cmpint(nbd_server_file_waited(ID), ==, -1);
	nbd_server_file_live(ID);
	g_assert_true(nbd_server_file_has_ended(ID));
}

/* The kernel says nothing of locks that a process has itself, and takes them when it closes a copy.
 */
static void test_a_process_knows_what_it_has(void)
{
	int fd = nbd_server_file_take(ID, NULL), other = nbd_server_file_take(ID + 2, NULL);
	int told;
	pid_t pid;

	g_assert_cmpint(nbd_server_pid(ID), ==, getpid());
	g_assert_cmpint(nbd_server_file_take(ID, NULL), ==, -EBUSY);
	g_assert_cmpint(nbd_server_file_take_over(ID, NULL), ==, -EBUSY);
	nbd_server_file_close(other);
	g_assert_cmpint(nbd_server_pid(ID + 2), ==, -1);
	/* It still has it. */
	pid = start_process(nbd_server_file_take, false, &told);
	waitpid(pid, NULL, 0);
	close(told);
	g_assert_cmpint(nbd_server_pid(ID), ==, getpid());
	nbd_server_file_close(fd);
	g_assert_cmpint(nbd_server_pid(ID), ==, -1);
	/* Also if a copy is closed instead, as a device does. */
	fd = nbd_server_file_take(ID, NULL);
	close(fd);
	g_assert_cmpint(nbd_server_pid(ID), ==, -1);
}

static pthread_barrier_t all_begin;

static void *take_it(void *arg)
{
	pthread_barrier_wait(&all_begin);
	return GINT_TO_POINTER(nbd_server_file_take(ID, NULL));
}

static void *look_at_it(void *arg)
{
	pthread_barrier_wait(&all_begin);
	for (unsigned i = 0; i < 10; i++)
		nbd_server_pid(ID);
	return GINT_TO_POINTER(-EBUSY);
}

static pid_t server_pid_elsewhere(void)
{
	const pid_t parent = getpid();
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(nbd_server_pid(ID) != parent);
	waitpid(pid, &status, 0);
	return status == 0 ? parent : -1;
}

/* As a keeper's do. What a thread looks at, it opens and closes. */
static void test_threads_do_not_take_it_from_each_other(void)
{
	for (unsigned round = 0; round < 200; round++) {
		pthread_t threads[4];
		int fd = -1;

		pthread_barrier_init(&all_begin, NULL, G_N_ELEMENTS(threads));
		for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
			pthread_create(&threads[i], NULL, i < 3 ? take_it : look_at_it, NULL);
		for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
			void *got;

			pthread_join(threads[i], &got);
			if (GPOINTER_TO_INT(got) == -EBUSY)
				continue;
			g_assert_cmpint(fd, ==, -1);
			fd = GPOINTER_TO_INT(got);
			g_assert_cmpint(fd, >=, 0);
		}
		pthread_barrier_destroy(&all_begin);
		g_assert_cmpint(server_pid_elsewhere(), ==, getpid());
		nbd_server_file_close(fd);
	}
}

static void unlink_file(void)
{
	g_autofree char *path = g_strdup_printf("%s/nbd%d", nbd_server_folder, ID);

	g_assert_cmpint(g_unlink(path), ==, 0);
}

/* As a keeper does for its server. */
static void test_lock_is_passed_on(void)
{
	int fd = nbd_server_file_take(ID, NULL), status, copy;
	pid_t pid;

	nbd_server_file_unlock(fd);
	g_assert_cmpint(nbd_server_pid(ID), ==, -1);
	/* Not for another device. */
	g_assert_cmpint(nbd_server_file_take(ID, NULL), ==, -EBUSY);
	pid = fork();
	if (pid == 0)
		_exit(nbd_server_file_lock(ID, fd, NULL) < 0 || nbd_server_pid(ID) != getpid());
	waitpid(pid, &status, 0);
	g_assert_cmpint(status, ==, 0);
	nbd_server_file_close(fd);
	fd = nbd_server_file_take(ID, NULL);
	g_assert_cmpint(fd, >=, 0);
	/* Another process has been faster. */
	copy = dup(fd);
	nbd_server_file_unlock(fd);
	unlink_file();
	g_assert_cmpint(nbd_server_file_lock(ID, copy, NULL), ==, -EBUSY);
	nbd_server_file_close(copy);
	nbd_server_file_close(fd);
}

/* Who has had a device of that number cannot ask the server of the next one to leave. */
static void test_new_devices_have_new_files(void)
{
	int fd = nbd_server_file_take(ID, NULL), kept = dup(fd);
	pid_t pid;

	nbd_server_file_close(fd);
	fd = nbd_server_file_take(ID, NULL);
	g_assert_cmpint(write(kept, "", 1), ==, 1);
	g_assert_false(nbd_server_must_leave(fd));
	/* Nor have it instead. */
	nbd_server_file_close(fd);
	pid = fork();
	if (pid == 0) {
		nbd_server_file_lock(ID, kept, NULL);
		pause();
		_exit(0);
	}
	fd = nbd_server_file_take_over(ID, NULL);
	g_assert_cmpint(fd, >=, 0);
	nbd_server_file_close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(kept);
}

static void test_server_leaves(void)
{
	pid_t pid = start_server();
	int fd = nbd_server_file_take_over(ID, NULL);

	g_assert_cmpint(fd, >=, 0);
	/* The one before was asked, not this one. */
	g_assert_false(nbd_server_must_leave(fd));
	assert_left(pid);
	nbd_server_file_close(fd);
}

/* Each of them gets the device, in some order, and none waits for a server that nobody has asked.
 */
static void test_several_want_the_device(void)
{
	pid_t first = start_server(), others[3];
	int told[G_N_ELEMENTS(others)], fd;

	for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
		others[i] = start_process(nbd_server_file_take_over, false, &told[i]);
	assert_left(first);
	for (unsigned i = 0; i < G_N_ELEMENTS(others); i++) {
		wait_until_serving(told[i]);
		close(told[i]);
	}
	fd = nbd_server_file_take_over(ID, NULL);
	g_assert_cmpint(fd, >=, 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
		assert_left(others[i]);
	nbd_server_file_close(fd);
}

static void test_server_is_asked_to_leave(void)
{
	pid_t pid = start_server();

	g_assert_cmpint(nbd_server_file_ask(ID), ==, 0);
	assert_left(pid);
	g_assert_cmpint(nbd_server_file_ask(ID), ==, 0);
}

static void test_its_heir_is_not_asked(void)
{
	int told;
	pid_t pid = start_process(nbd_server_file_take, true, &told), heir;

	g_assert_cmpint(wait_until_serving(told), ==, pid);
	g_assert_cmpint(nbd_server_file_ask(ID), ==, 0);
	assert_left(pid);
	heir = wait_until_serving(told);
	g_usleep(G_USEC_PER_SEC / 10);
	g_assert_cmpint(nbd_server_pid(ID), ==, heir);
	kill(heir, SIGKILL);
	while (nbd_server_pid(ID) != -1)
		g_usleep(1000);
	close(told);
}

/* To the kernel, it may look as if it waited for another server. */
static void test_devices_that_have_ended(void)
{
	int fd = nbd_server_file_take(ID, NULL);

	g_assert_false(nbd_server_file_has_ended(ID) || nbd_server_file_is_stopping(ID));
	nbd_server_file_stop(ID);
	g_assert_true(nbd_server_file_is_stopping(ID));
	g_assert_false(nbd_server_file_has_ended(ID));
	nbd_server_file_end(ID);
	g_assert_false(nbd_server_file_is_stopping(ID));
	g_assert_true(nbd_server_file_has_ended(ID));
	nbd_server_file_close(fd);
	g_assert_true(nbd_server_file_has_ended(ID));
	/* Taking over what has ended does not make it live. */
	nbd_server_file_close(nbd_server_file_take_over(ID, NULL));
	g_assert_true(nbd_server_file_has_ended(ID));
	nbd_server_file_close(nbd_server_file_take(ID, NULL));
	g_assert_false(nbd_server_file_has_ended(ID));
	nbd_server_file_end(ID + 1);
	g_assert_false(nbd_server_file_has_ended(ID + 1));
}

static void test_other_files_are_not_used(void)
{
	g_autofree char *path = g_strdup_printf("%s/nbd%d", nbd_server_folder, ID + 1);
	g_autoptr(GError) err = NULL;

	g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
	g_assert_cmpint(nbd_server_file_take(ID + 1, &err), ==, -EEXIST);
	g_assert_nonnull(err);
	g_unlink(path);
	g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
	g_clear_error(&err);
	g_assert_cmpint(nbd_server_file_take(ID + 1, &err), ==, -ELOOP);
	g_unlink(path);
}

/* There, another user could play the server, or ask it to leave. */
static void test_folder_of_others_is_not_used(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(chmod(nbd_server_folder, 0777), ==, 0);
	g_assert_cmpint(nbd_server_file_take(ID, &err), ==, -EPERM);
	g_assert_nonnull(strstr(err->message, "other users can write to it"));
	g_assert_cmpint(nbd_server_file_take_over(ID, NULL), ==, -EPERM);
	g_assert_cmpint(chmod(nbd_server_folder, 0700), ==, 0);
	nbd_server_file_close(nbd_server_file_take(ID, NULL));
}

int main(int argc, char **argv)
{
	g_autofree char *folder = g_dir_make_tmp("control-nbd-XXXXXX", NULL);
	g_autofree char *path = g_strdup_printf("%s/nbd%d", folder, ID);
	int ret;

	nbd_server_folder = folder;
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/nbd/description-is-kept", test_description_is_kept);
	g_test_add_func("/control/nbd/text-of-others-is-refused", test_text_of_others_is_refused);
	g_test_add_func("/control/nbd/one-process-is-the-server", test_one_process_is_the_server);
	g_test_add_func("/control/nbd/device-waits", test_device_waits);
	g_test_add_func("/control/nbd/a-process-knows-what-it-has",
			test_a_process_knows_what_it_has);
	g_test_add_func("/control/nbd/threads-do-not-take-it-from-each-other",
			test_threads_do_not_take_it_from_each_other);
	g_test_add_func("/control/nbd/lock-is-passed-on", test_lock_is_passed_on);
	g_test_add_func("/control/nbd/new-devices-have-new-files", test_new_devices_have_new_files);
	g_test_add_func("/control/nbd/server-leaves", test_server_leaves);
	g_test_add_func("/control/nbd/several-want-the-device", test_several_want_the_device);
	g_test_add_func("/control/nbd/server-is-asked-to-leave", test_server_is_asked_to_leave);
	g_test_add_func("/control/nbd/its-heir-is-not-asked", test_its_heir_is_not_asked);
	g_test_add_func("/control/nbd/devices-that-have-ended", test_devices_that_have_ended);
	g_test_add_func("/control/nbd/other-files-are-not-used", test_other_files_are_not_used);
	g_test_add_func("/control/nbd/folder-of-others-is-not-used",
			test_folder_of_others_is_not_used);
	ret = g_test_run();
	g_unlink(path);
	g_free(path);
	path = g_strdup_printf("%s/nbd%d", folder, ID + 2);
	g_unlink(path);
	g_rmdir(folder);
	return ret;
}
