// SPDX-License-Identifier: GPL-2.0-or-later
/* Image locks: QEMU's tools and ours exclude each other, and share where both only read. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image-test.h"

#define EBUSY_WORDS "Is another process using the image"

/* A qemu-io that keeps the image open until it is told to go. */
struct qemu_io {
	GPid pid;
	int in, out;
};

static struct qemu_io qemu_io_hold(char **argv)
{
	static const char command[] = "length\n";
	g_autoptr(GError) err = NULL;
	struct qemu_io qemu;
	char answer[256];
	ssize_t len = 0;

	g_spawn_async_with_pipes(NULL, argv, NULL,
				 G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
					 G_SPAWN_STDERR_TO_DEV_NULL,
				 NULL, NULL, &qemu.pid, &qemu.in, &qemu.out, NULL, &err);
	g_assert_no_error(err);
	/* Once it answers a command, it has opened and locked the image. */
	g_assert_cmpint(write(qemu.in, command, strlen(command)), ==, strlen(command));
	do {
		ssize_t ret = read(qemu.out, answer + len, sizeof(answer) - 1 - len);

		g_assert_cmpint(ret, >, 0);
		len += ret;
		answer[len] = 0;
	} while (!strstr(answer, "MiB"));
	return qemu;
}

static void qemu_io_let_go(struct qemu_io *qemu)
{
	int status;

	close(qemu->in);
	close(qemu->out);
	waitpid(qemu->pid, &status, 0);
	g_spawn_close_pid(qemu->pid);
}

#define HOLD(...) qemu_io_hold((char *[]){ "qemu-io", __VA_ARGS__, NULL })

/* Whether the program succeeds. */
static bool try_run(char **argv, char **ret_said)
{
	g_autofree char *said = NULL;
	int status;

	g_assert_true(g_spawn_sync(NULL, argv, NULL,
				   G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
				   NULL, &said, &status, NULL));
	if (ret_said)
		*ret_said = g_steal_pointer(&said);
	return status == 0;
}

#define RUNS(...)    try_run((char *[]){ __VA_ARGS__, NULL }, NULL)

/* Expects QEMU to refuse, because of the lock. */
#define REFUSED(...) refused((char *[]){ __VA_ARGS__, NULL })

static void refused(char **argv)
{
	g_autofree char *said = NULL;

	g_assert_false(try_run(argv, &said));
	g_assert_nonnull(strstr(said, "lock"));
}

static void make_images(void)
{
	g_assert_true(RUNS("qemu-img", "create", "-f", "raw", "raw", "1M"));
	g_assert_true(RUNS("qemu-img", "create", "-f", "qcow2", "base", "1M"));
	g_assert_true(
		RUNS("qemu-img", "create", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top"));
}

CO_TEST(test_qemu_writes_and_we_are_refused)
{
	struct qemu_io qemu = HOLD("-f", "qcow2", "top");

	co_open_fails("top", NULL, IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	co_open_fails("top", NULL, 0, EBUSY, EBUSY_WORDS);
	/* Its backing file can be read but not written. */
	co_open_fails("base", NULL, IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	image_co_close(co_open_ok("base", NULL, 0));
	image_co_close(co_open_ok("top", NULL, IMAGE_FORCE_SHARE));
	qemu_io_let_go(&qemu);
	image_co_close(co_open_ok("top", NULL, IMAGE_RDWR));
}

CO_TEST(test_qemu_reads_and_we_may_read)
{
	struct qemu_io qemu = HOLD("-r", "-f", "qcow2", "top");

	co_open_fails("top", NULL, IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	image_co_close(co_open_ok("top", NULL, 0));
	qemu_io_let_go(&qemu);
}

CO_TEST(test_qemu_writes_raw_and_we_are_refused)
{
	struct qemu_io qemu = HOLD("-f", "raw", "raw");

	co_open_fails("raw", "raw", IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	co_open_fails("raw", "raw", 0, EBUSY, EBUSY_WORDS);
	qemu_io_let_go(&qemu);
}

/* If asked for, and if the format caches nothing. */
CO_TEST(test_qemu_writes_raw_and_we_look_at_it)
{
	struct qemu_io qemu = HOLD("-f", "raw", "raw");

	image_co_close(co_open_ok("raw", "raw", IMAGE_BEAR_WRITERS));
	image_co_close(co_open_ok("raw", NULL, IMAGE_BEAR_WRITERS));
	co_open_fails("raw", "raw", IMAGE_RDWR | IMAGE_BEAR_WRITERS, EINVAL, "read-only");
	qemu_io_let_go(&qemu);
	qemu = HOLD("-f", "qcow2", "top");
	co_open_fails("top", "qcow2", IMAGE_BEAR_WRITERS, EBUSY, EBUSY_WORDS);
	co_open_fails("top", NULL, IMAGE_BEAR_WRITERS, EBUSY, EBUSY_WORDS);
	image_co_close(co_open_ok("top", "raw", IMAGE_BEAR_WRITERS));
	qemu_io_let_go(&qemu);
}

/* From the moment its format is known. */
CO_TEST(test_looked_at_with_metadata_keeps_writers_out)
{
	struct image *img = co_open_ok("top", NULL, IMAGE_BEAR_WRITERS);

	REFUSED("qemu-io", "-f", "qcow2", "top", "-c", "quit");
	image_co_close(img);
}

CO_TEST(test_holder_is_named)
{
	struct qemu_io qemu = HOLD("-r", "-f", "qcow2", "top");
	g_autofree char *words = g_strdup_printf("]? (PID %d, qemu-io)", (int)qemu.pid);
	struct image *img;

	co_open_fails("top", NULL, IMAGE_RDWR, EBUSY, words);
	qemu_io_let_go(&qemu);
	img = co_open_ok("top", NULL, IMAGE_RDWR);
	g_free(words);
	words = g_strdup_printf("]? (PID %d, ", (int)getpid());
	co_open_fails("top", NULL, 0, EBUSY, words);
	image_co_close(img);
}

CO_TEST(test_we_write_and_qemu_is_refused)
{
	struct image *img = co_open_ok("top", NULL, IMAGE_RDWR);

	REFUSED("qemu-io", "-f", "qcow2", "top", "-c", "quit");
	REFUSED("qemu-io", "-r", "-f", "qcow2", "top", "-c", "quit");
	REFUSED("qemu-img", "info", "top");
	REFUSED("qemu-img", "check", "top");
	g_assert_true(RUNS("qemu-img", "info", "-U", "top"));
	/* QEMU may read the backing file, but not write to it. */
	REFUSED("qemu-io", "-f", "qcow2", "base", "-c", "quit");
	g_assert_true(RUNS("qemu-io", "-r", "-f", "qcow2", "base", "-c", "quit"));
	image_co_close(img);
	g_assert_true(RUNS("qemu-io", "-f", "qcow2", "top", "-c", "quit"));
}

CO_TEST(test_we_read_and_qemu_may_read)
{
	struct image *img = co_open_ok("top", NULL, 0);

	REFUSED("qemu-io", "-f", "qcow2", "top", "-c", "quit");
	g_assert_true(RUNS("qemu-io", "-r", "-f", "qcow2", "top", "-c", "quit"));
	image_co_close(img);
}

CO_TEST(test_we_write_raw_and_qemu_is_refused)
{
	struct image *img = co_open_ok("raw", "raw", IMAGE_RDWR);

	REFUSED("qemu-io", "-f", "raw", "raw", "-c", "quit");
	REFUSED("qemu-img", "create", "-f", "raw", "raw", "2M");
	image_co_close(img);
}

CO_TEST(test_we_share_and_qemu_may_write)
{
	struct image *img = co_open_ok("top", NULL, IMAGE_FORCE_SHARE);

	g_assert_true(RUNS("qemu-io", "-f", "qcow2", "top", "-c", "write 0 64k"));
	image_co_close(img);
}

CO_TEST(test_we_refuse_ourselves)
{
	struct image *img = co_open_ok("top", NULL, IMAGE_RDWR);

	co_open_fails("top", NULL, IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	co_open_fails("base", NULL, IMAGE_RDWR, EBUSY, EBUSY_WORDS);
	image_co_close(img);
}

/* The kernel may keep the file open for a moment, for completed requests; here a child does. */
CO_TEST(test_closed_is_unlocked_whoever_has_the_file)
{
	struct image *img = co_open_ok("top", NULL, IMAGE_RDWR);
	pid_t child = fork();

	if (child == 0) {
		alarm(600);
		pause();
		_exit(0);
	}
	image_co_close(img);
	img = co_open_ok("top", NULL, IMAGE_RDWR);
	image_co_close(img);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

CO_TEST(test_sharing_is_for_readers)
{
	co_open_fails("top", NULL, IMAGE_RDWR | IMAGE_FORCE_SHARE, EINVAL, "read-only");
}

/* A file that is open, even for reading only, is neither truncated nor removed. */
CO_TEST(test_create_spares_an_image_in_use)
{
	struct image_create_opts opts = { .size = 65536, .size_given = true };
	struct qemu_io qemu = HOLD("-r", "-f", "raw", "raw");
	g_autoptr(GError) err = NULL;
	struct image *img;

	g_assert_cmpint(image_co_create("raw", "raw", &opts, NULL, &err), ==, -EBUSY);
	g_assert_nonnull(strstr(err->message, EBUSY_WORDS));
	qemu_io_let_go(&qemu);
	img = co_open_ok("raw", "raw", 0);
	g_assert_cmpuint(image_size(img), ==, 1024 * 1024);
	image_co_close(img);
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	signal(SIGPIPE, SIG_IGN);
	make_images();
	g_test_add_func("/lock/qemu-writes-and-we-are-refused",
			test_qemu_writes_and_we_are_refused);
	g_test_add_func("/lock/qemu-reads-and-we-may-read", test_qemu_reads_and_we_may_read);
	g_test_add_func("/lock/qemu-writes-raw-and-we-are-refused",
			test_qemu_writes_raw_and_we_are_refused);
	g_test_add_func("/lock/qemu-writes-raw-and-we-look-at-it",
			test_qemu_writes_raw_and_we_look_at_it);
	g_test_add_func("/lock/looked-at-with-metadata-keeps-writers-out",
			test_looked_at_with_metadata_keeps_writers_out);
	g_test_add_func("/lock/holder-is-named", test_holder_is_named);
	g_test_add_func("/lock/we-write-and-qemu-is-refused", test_we_write_and_qemu_is_refused);
	g_test_add_func("/lock/we-read-and-qemu-may-read", test_we_read_and_qemu_may_read);
	g_test_add_func("/lock/we-write-raw-and-qemu-is-refused",
			test_we_write_raw_and_qemu_is_refused);
	g_test_add_func("/lock/we-share-and-qemu-may-write", test_we_share_and_qemu_may_write);
	g_test_add_func("/lock/we-refuse-ourselves", test_we_refuse_ourselves);
	g_test_add_func("/lock/closed-is-unlocked-whoever-has-the-file",
			test_closed_is_unlocked_whoever_has_the_file);
	g_test_add_func("/lock/sharing-is-for-readers", test_sharing_is_for_readers);
	g_test_add_func("/lock/create-spares-an-image-in-use", test_create_spares_an_image_in_use);
	return leave_scratch(scratch, g_test_run());
}
