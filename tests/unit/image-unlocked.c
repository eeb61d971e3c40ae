// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Images on a file system without locks, such as NFS without lockd: reading works, with a warning;
 * writing must be asked for. __wrap_fcntl64() simulates the file system.
 */
#include <fcntl.h>
#include <stdarg.h>

#include "image-test.h"

#define REASON "file system does not support locks"

static int lock_error;
static unsigned notes;

int __real_fcntl(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);

static int play_fcntl(int fd, int cmd, void *arg)
{
	if (cmd != F_OFD_SETLK && cmd != F_OFD_GETLK)
		return __real_fcntl(fd, cmd, arg);
	errno = lock_error;
	return -1;
}

int __wrap_fcntl(int fd, int cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return play_fcntl(fd, cmd, arg);
}

int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	return play_fcntl(fd, cmd, arg);
}

static void note(const char *line)
{
	g_assert_nonnull(strstr(line, REASON));
	notes++;
}

/* Opens the chain and returns the number of warnings. */
static unsigned open_noted(unsigned flags)
{
	struct image_open_opts opts = { .flags = flags, .warn = note };
	g_autoptr(GError) err = NULL;
	struct image *img;

	notes = 0;
	g_assert_cmpint(image_co_open("top", &opts, &img, &err), ==, 0);
	g_assert_no_error(err);
	image_co_close(img);
	return notes;
}

CO_TEST(test_without_locks)
{
	static const int errors[] = { ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL };
	struct image_create_opts opts = { .size = 65536, .size_given = true };

	for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
		g_autoptr(GError) err = NULL;

		lock_error = errors[i];
		/* One warning for the chain. */
		g_assert_cmpuint(open_noted(0), ==, 1);
		g_assert_cmpuint(open_noted(IMAGE_BEAR_WRITERS), ==, 1);
		g_assert_cmpuint(open_noted(IMAGE_FORCE_SHARE), ==, 0);
		co_open_fails("top", NULL, IMAGE_RDWR, ENOLCK, REASON);
		co_open_fails("top", NULL, IMAGE_FOR_CHECK | IMAGE_FOR_REPAIR, ENOLCK, "--no-lock");
		g_assert_cmpint(image_co_create("new", "raw", &opts, NULL, &err), ==, -ENOLCK);
		g_assert_nonnull(strstr(err->message, REASON));
		g_assert_false(g_file_test("new", G_FILE_TEST_EXISTS));
	}
}

/* The way the server opens it: it looks at the file first. */
CO_TEST(test_opened_on_its_file)
{
	struct image_open_opts opts = { .warn = note };
	g_autoptr(GError) err = NULL;
	struct image *file, *img;

	lock_error = ENOLCK;
	notes = 0;
	g_assert_cmpint(image_co_open_bottom("top", 0, &file, &err), ==, 0);
	g_assert_cmpint(image_co_open_on(file, &opts, &img, &err), ==, 0);
	g_assert_cmpuint(notes, ==, 1);
	image_co_close(img);
}

/* Other errors do not come from the lack of locks. */
CO_TEST(test_failed_lock)
{
	lock_error = EIO;
	co_open_fails("top", NULL, 0, EIO, "cannot lock the image");
}

/* For one image, without more for others. */
CO_TEST(test_asked_for_one)
{
	lock_error = ENOLCK;
	g_assert_cmpuint(open_noted(IMAGE_RDWR | IMAGE_WRITE_UNLOCKED), ==, 0);
	/* The base, too. */
	g_assert_cmpuint(open_noted(IMAGE_WRITE_UNLOCKED), ==, 0);
	co_open_fails("top", NULL, IMAGE_RDWR, ENOLCK, REASON);
	g_assert_cmpuint(open_noted(0), ==, 1);
}

CO_TEST(test_asked_for)
{
	struct image_create_opts opts = { .size = 65536, .size_given = true };

	lock_error = ENOLCK;
	image_write_unlocked();
	g_assert_cmpuint(open_noted(IMAGE_RDWR), ==, 0);
	g_assert_cmpuint(open_noted(0), ==, 0);
	g_assert_cmpint(image_co_create("new", "raw", &opts, NULL, NULL), ==, 0);
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	g_assert_cmpint(system("qemu-img create -q -f qcow2 base 1M &&"
			       "qemu-img create -q -f qcow2 -b base -F qcow2 top"),
			==, 0);
	g_test_add_func("/unlocked/without-locks", test_without_locks);
	g_test_add_func("/unlocked/opened-on-its-file", test_opened_on_its_file);
	g_test_add_func("/unlocked/failed-lock", test_failed_lock);
	g_test_add_func("/unlocked/asked-for-one", test_asked_for_one);
	g_test_add_func("/unlocked/asked-for", test_asked_for);
	return leave_scratch(scratch, g_test_run());
}
